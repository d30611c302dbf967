import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

face("pretrain", "policies/pretraining/trainer.py")
