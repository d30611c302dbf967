import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

p = ROOT / "policies/__init__.py"
t = p.read_text()
t = t.replace('{"BackboneConfig": "family"}', '{"BackboneConfig": "settings"}').replace(
    'f".backbones.{home}"', 'f".backbones.foundation.{home}"'
)
p.write_text(t)
