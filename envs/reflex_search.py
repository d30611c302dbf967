"""``python -m neon_sim.envs.reflex_search out=DIR``: search the gains of the balance's reflex.

Every generation draws new pushes. Each candidate faces all of them and is scored by how long it
stands and how soon it is calm. The result is the mean of the last generation, since its best
candidate may only have been lucky. The method is (mu/mu_w, lambda)-CMA-ES (Hansen 2016, "The CMA
Evolution Strategy: A Tutorial", arXiv:1604.00772, appendix A). It resumes from
``DIR/search.json`` if that file exists.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike
from typing_extensions import TypedDict

from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.files import hold_folder, write_whole
from neon_sim.rules import Seed, hold_rules
from neon_sim.schema import read_json
from neon_sim.seeding import keyed_rng

from .humanoid.balance import HumanoidBalance, Pushes
from .humanoid.learned_balance import GAIN_NAMES, Learned, Reflex
from .humanoid.robot import NUM_JOINTS

COMMAND = "python -m neon_sim.envs.reflex_search"
# Mean and spread of the first generation, in the order of GAIN_NAMES. They come from shorter
# searches under fixed pushes, one plane at a time.
START = np.array(
    [
        *(-1.75, -5.36, 1.35, 9.22, 0.36, -0.1, 0.38, -1.08),
        *(-3.3, 5.4, 4.5, 3.1, -1.0, 1.6, 1.4, 0.95),
        *(6.5, 0.0, 0.2, -0.2, 1.75, 0.0, 0.05, -0.05),
    ]
)
SPREAD = np.array([2.0, 3.0, 1.0, 3.0, 0.5, 0.6, 0.3, 0.6] * 3)
CASES = 8  # pushes of a generation, all to one side: the other is its mirror image
IMPULSES_NS = (9.0, 14.0)
PUSH_STEP = 5  # control step of the push
MAX_STEPS = 150  # control steps of a trial
CALM_STEPS = 8  # successive calm control steps after which a trial ends
LOST_HEIGHT_M = 0.62  # height of the pelvis below which the robot has fallen
# Largest absolute values of numbers 2 to 8 of the observation in a calm step.
CALM = np.array([0.35] * 3 + [0.35, 0.35, 0.12, 0.12])
PRIOR = 5e-4  # cost of a gain that lies one spread from the start; grows with the square


@dataclass
class ReflexSearchConfig:
    """Settings of a search.

    Attributes:
        out: folder for ``reflex.json`` and ``search.json``, from which a search resumes.
        generations: total number, including those of earlier calls.
        population: candidates per generation.
        seed: of the candidates and pushes.
    """

    out: str = ""
    generations: Annotated[int, Interval(ge=1, le=10**5)] = 17
    population: Annotated[int, Interval(ge=4, le=10**4)] = 12
    seed: Seed = 0

    def validate(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: a value outside its rule.
        """
        hold_rules(self)
        if not self.out:
            raise ConfigError("out has no default: give out=DIR")


class State(TypedDict):
    """Everything on which the next generation depends."""

    generation: int
    sigma: float
    sigma_before: NotRequired[float]
    mean: list[float]
    path_c: list[float]
    path_sigma: list[float]
    covariance: list[list[float]]
    curve: list[dict[str, float]]


class Search:
    """CMA-ES that maximises a score, starting from the origin.

    Args:
        size: number of dimensions. population: candidates per generation. seed: of the draws.
    """

    def __init__(self, size: int, population: int, seed: int) -> None:
        self.seed, self.population = seed, population
        n, mu = size, population // 2
        weights = np.log(mu + 0.5) - np.log(np.arange(1, mu + 1))
        self._weights = weights / weights.sum()
        self._mu_eff = m = 1 / float(np.square(self._weights).sum())
        self._c_sigma = (m + 2) / (n + m + 5)
        self._damping = 1 + self._c_sigma + 2 * max(0.0, np.sqrt((m - 1) / (n + 1)) - 1)
        self._c_c = (4 + m / n) / (n + 4 + 2 * m / n)
        self._c_1 = 2 / ((n + 1.3) ** 2 + m)
        self._c_mu = min(1 - self._c_1, 2 * (m - 2 + 1 / m) / ((n + 2) ** 2 + m))
        self._chi = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        zeros = [0.0] * n
        self.state: State = {
            "generation": 0,
            "sigma": 0.5,
            "mean": zeros,
            "curve": [],
            "path_c": zeros,
            "path_sigma": zeros,
            "covariance": np.eye(n).tolist(),
        }

    def resume(self, path: Path) -> None:
        """Continue from the state that an earlier call saved.

        Raises:
            CheckpointError: a damaged file, or another number of gains.
        """
        mend = "delete it to begin anew, or choose another out="
        state = read_json(path, State, CheckpointError, mend)
        n = len(self.state["mean"])
        sizes = {len(state["mean"]), len(state["path_c"]), len(state["path_sigma"])}
        sizes.add(len(state["covariance"]))
        if sizes | {len(row) for row in state["covariance"]} != {n}:
            raise CheckpointError(f"{path} must hold a search over {n} gains (got {sizes}); {mend}")
        self.state = state

    def generation(self, score: Callable[[np.ndarray], float]) -> None:
        """Draw a population, score it and update the distribution."""
        s, n = self.state, len(self.state["mean"])
        mean, covariance = np.array(s["mean"]), np.array(s["covariance"])
        values, axes = np.linalg.eigh(covariance)
        scales = np.sqrt(values)
        rng = keyed_rng("reflex-search", self.seed, s["generation"])
        steps = rng.standard_normal((self.population, n)) * scales @ axes.T
        candidates = mean + s["sigma"] * steps
        scores = np.array([score(candidate) for candidate in candidates])
        order = np.argsort(-scores)[: len(self._weights)]
        self._update(steps[order], values, axes, covariance)
        s["mean"] = (mean + s["sigma_before"] * (self._weights @ steps[order])).tolist()
        s["curve"].append({"mean": float(scores.mean()), "best": float(scores.max())})

    def _update(
        self, steps: np.ndarray, values: np.ndarray, axes: np.ndarray, covariance: np.ndarray
    ) -> None:
        """Update paths, covariance and step size (equations 42 to 47 of the tutorial)."""
        s, n = self.state, len(values)
        mean_step = self._weights @ steps
        cs, cc, m = self._c_sigma, self._c_c, self._mu_eff
        whitened = axes @ ((axes.T @ mean_step) / np.sqrt(values))
        path_sigma = (1 - cs) * np.array(s["path_sigma"]) + np.sqrt(cs * (2 - cs) * m) * whitened
        length = float(np.linalg.norm(path_sigma))
        s["generation"] += 1
        usual = length / np.sqrt(1 - (1 - cs) ** (2 * s["generation"])) < (
            1.4 + 2 / (n + 1)
        ) * float(self._chi)
        path_c = (1 - cc) * np.array(s["path_c"]) + usual * np.sqrt(cc * (2 - cc) * m) * mean_step
        rank_mu = (steps.T * self._weights) @ steps
        covariance = (1 - self._c_1 - self._c_mu) * covariance
        covariance += self._c_1 * np.outer(path_c, path_c) + self._c_mu * rank_mu
        s["sigma_before"] = s["sigma"]
        s["sigma"] = float(s["sigma"] * np.exp(cs / self._damping * (length / self._chi - 1)))
        s["path_sigma"], s["path_c"] = path_sigma.tolist(), path_c.tolist()
        s["covariance"] = ((covariance + covariance.T) / 2).tolist()


def gains_of(place: ArrayLike) -> dict[str, float]:
    """The gains at (24,) ``place``, in spreads from the start."""
    gains = START + SPREAD * np.asarray(place)
    return {name: round(float(g), 4) for name, g in zip(GAIN_NAMES, gains, strict=True)}


def draw_pushes(seed: int, generation: int) -> list[tuple[float, float]]:
    """Impulse, N s, and direction, rad, of each push of a generation.

    The directions are spread evenly over the left side, from ahead to behind.
    """
    rng = keyed_rng("reflex-pushes", seed, generation)
    angles = np.pi * (np.arange(CASES) + rng.uniform(size=CASES)) / CASES
    return list(zip(rng.uniform(*IMPULSES_NS, CASES).tolist(), angles.tolist(), strict=True))


class Judge:
    """Pushes a robot with one reflex after another, and scores them.

    Attributes:
        pushes: impulse, N s, and direction, rad, of those that every reflex faces.
    """

    def __init__(self) -> None:
        self.pushes: list[tuple[float, float]] = []
        self.env = HumanoidBalance(cameras=(), lower="reflex")
        assert isinstance(self.env.lower, Learned)
        self.lower = self.env.lower

    def score(self, place: np.ndarray) -> float:
        """Mean score over ``pushes``, less the prior's cost.

        A push scores 1 to 1.2 if the robot stands, and less than 0.75 if it falls.
        """
        self.lower.reflex = Reflex(gains_of(place))
        outcomes = [self.stands(*case) for case in self.pushes]
        return float(np.mean(outcomes) - PRIOR * np.square(place).sum())

    def stands(self, impulse: float, angle: float) -> float:
        """Score of one push: higher the sooner the robot is calm, or the later it falls."""
        env = self.env
        steps = [PUSH_STEP, 10 * MAX_STEPS]
        latent: Pushes = {"impulse": impulse, "directions": [angle, angle], "steps": steps}
        env.reset(seed=0, options={"latent": latent})
        calm, action = 0, np.zeros(NUM_JOINTS)
        for step in range(MAX_STEPS):
            env.advance(action, past_end=True)  # height alone decides whether it fell
            if env.data.qpos[2] < LOST_HEIGHT_M:
                return 0.5 * step / 100
            quiet = step > 20 and bool((np.abs(self.lower.observe()[2:9]) < CALM).all())
            calm = calm + 1 if quiet else 0
            if calm >= CALM_STEPS:
                break
        return 1.0 + 0.2 * (1 - step / MAX_STEPS)


def search(config: ReflexSearchConfig) -> Path:
    """Start or resume a search; returns the path of the gains."""
    out = Path(config.out)
    hold_folder("out", out)
    out.mkdir(parents=True, exist_ok=True)
    found = Search(len(GAIN_NAMES), config.population, config.seed)
    state = out / "search.json"
    if state.exists():
        found.resume(state)
    judge = Judge()
    while found.state["generation"] < config.generations:
        began = time.process_time()
        judge.pushes = draw_pushes(config.seed, found.state["generation"])
        found.generation(judge.score)
        write_whole(state, json.dumps(found.state))
        done, last = found.state["generation"], found.state["curve"][-1]
        took = f"{time.process_time() - began:.1f} s"
        print(
            f"generation {done}/{config.generations}  mean {last['mean']:.3f}  "
            f"best {last['best']:.3f}  {took}",
            flush=True,
        )
    path = out / "reflex.json"
    record = {
        "gains": gains_of(found.state["mean"]),
        "residual": None,
        "curve": found.state["curve"],
        "command": f"{COMMAND} generations={config.generations} out=DIR",
        "settings": {key: value for key, value in asdict(config).items() if key != "out"},
    }
    write_whole(path, json.dumps(record, indent=1) + "\n")
    return path


@entry_point("reflex_search", "the same command goes on")
def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    print(search(main_config(ReflexSearchConfig, argv, None, prog=COMMAND)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
