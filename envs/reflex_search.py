"""``python -m neon_sim.envs.reflex_search out=DIR``: gains of the balance's reflex, by CMA-ES.

Every generation draws pushes of its own; each candidate is pushed by all of them and scored by how
long it stands and how soon it is calm. The gains are the mean of the last generation, not its
luckiest candidate. (mu/mu_w, lambda)-CMA-ES as of Hansen 2016, "The CMA Evolution Strategy: A
Tutorial" (arXiv:1604.00772), appendix A; it goes on from ``DIR/search.json`` where there is one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from annotated_types import Interval
from typing_extensions import TypedDict

from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.files import hold_folder, write_whole
from neon_sim.rules import Seed, hold_rules
from neon_sim.schema import read_json
from neon_sim.seeding import keyed_rng

from .humanoid.balance import HumanoidBalance
from .humanoid.learned_balance import GAIN_NAMES, Reflex
from .humanoid.robot import NUM_JOINTS

COMMAND = "python -m neon_sim.envs.reflex_search"
# Where it starts, and how far it looks at first, in the order of GAIN_NAMES; from shorter searches
# of this kind under fixed pushes, plane by plane.
START = np.array(
    [
        *(-1.75, -5.36, 1.35, 9.22, 0.36, -0.1, 0.38, -1.08),
        *(-3.3, 5.4, 4.5, 3.1, -1.0, 1.6, 1.4, 0.95),
        *(6.5, 0.0, 0.2, -0.2, 1.75, 0.0, 0.05, -0.05),
    ]
)
SPREAD = np.array([2.0, 3.0, 1.0, 3.0, 0.5, 0.6, 0.3, 0.6] * 3)
CASES, IMPULSES_NS = 8, (9.0, 14.0)  # pushes of a generation; the other side is a mirror image
PUSH_STEP, MAX_STEPS, CALM_STEPS, LOST_HEIGHT_M = 5, 150, 8, 0.62
CALM = np.array([0.35] * 3 + [0.35, 0.35, 0.12, 0.12])  # of observation 2 to 8
PRIOR = 5e-4  # cost of a gain that lies one spread off the start, squared


@dataclass
class ReflexSearchConfig:
    """One search.

    Attributes:
        out: folder for ``reflex.json`` and the resumable ``search.json``.
        generations: in all, those of earlier calls counted.
        population: candidates of a generation.
        seed: of the candidates.
    """

    out: str = ""
    generations: Annotated[int, Interval(ge=1, le=10**5)] = 17
    population: Annotated[int, Interval(ge=4, le=10**4)] = 12
    seed: Seed = 0

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule.
        """
        hold_rules(self)
        if not self.out:
            raise ConfigError("out has no default: give out=DIR")


class State(TypedDict):
    """Everything the next generation depends on."""

    generation: int
    sigma: float
    sigma_before: NotRequired[float]
    mean: list[float]
    path_c: list[float]
    path_sigma: list[float]
    covariance: list[list[float]]
    curve: list[dict[str, float]]


class Search:
    """CMA-ES, maximising, from the origin.

    Attributes:
        state: a ``State``.
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
        self.state: dict[str, Any] = {"generation": 0, "sigma": 0.5, "mean": zeros, "curve": []}
        self.state |= {"path_c": zeros, "path_sigma": zeros, "covariance": np.eye(n).tolist()}

    def resume(self, path: Path) -> None:
        """Go on from what an earlier call saved.

        Raises:
            CheckpointError: damaged, or of another number of gains.
        """
        mend = "delete it to begin anew, or choose another out="
        state = read_json(path, State, CheckpointError, mend)
        n = len(self.state["mean"])
        sizes = {len(state[key]) for key in ("mean", "path_c", "path_sigma", "covariance")}
        if sizes | {len(row) for row in state["covariance"]} != {n}:
            raise CheckpointError(f"{path} must hold a search over {n} gains (got {sizes}); {mend}")
        self.state = dict(state)

    def generation(self, score: Callable[[np.ndarray], float]) -> None:
        """Draw, score and learn from one population."""
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
        """Paths, covariance and step size (equations 42 to 47 of the tutorial)."""
        s, n = self.state, len(values)
        way = self._weights @ steps
        cs, cc, m = self._c_sigma, self._c_c, self._mu_eff
        whitened = axes @ ((axes.T @ way) / np.sqrt(values))
        path_sigma = (1 - cs) * np.array(s["path_sigma"]) + np.sqrt(cs * (2 - cs) * m) * whitened
        length = float(np.linalg.norm(path_sigma))
        s["generation"] += 1
        usual = length / np.sqrt(1 - (1 - cs) ** (2 * s["generation"])) < (
            1.4 + 2 / (n + 1)
        ) * float(self._chi)
        path_c = (1 - cc) * np.array(s["path_c"]) + usual * np.sqrt(cc * (2 - cc) * m) * way
        rank_mu = (steps.T * self._weights) @ steps
        covariance = (1 - self._c_1 - self._c_mu) * covariance
        covariance += self._c_1 * np.outer(path_c, path_c) + self._c_mu * rank_mu
        s["sigma_before"] = s["sigma"]
        s["sigma"] = float(s["sigma"] * np.exp(cs / self._damping * (length / self._chi - 1)))
        s["path_sigma"], s["path_c"] = path_sigma.tolist(), path_c.tolist()
        s["covariance"] = ((covariance + covariance.T) / 2).tolist()


def gains_of(place: Any) -> dict[str, float]:
    """Gains at a place (24,) of the search: so many spreads off the start."""
    gains = START + SPREAD * np.asarray(place)
    return {name: round(float(g), 4) for name, g in zip(GAIN_NAMES, gains, strict=True)}


def draw_pushes(seed: int, generation: int) -> list[tuple[float, float]]:
    """(N s, rad) of a generation's pushes, spread evenly from ahead to behind."""
    rng = keyed_rng("reflex-pushes", seed, generation)
    ways = np.pi * (np.arange(CASES) + rng.uniform(size=CASES)) / CASES
    return list(zip(rng.uniform(*IMPULSES_NS, CASES).tolist(), ways.tolist(), strict=True))


class Judge:
    """Pushes a robot with one reflex after another."""

    def __init__(self) -> None:
        self.pushes: list[tuple[float, float]] = []
        self.env = HumanoidBalance(cameras=(), lower="reflex")
        self.lower: Any = self.env.lower

    def score(self, place: np.ndarray) -> float:
        """Mean over ``pushes``; 1 to 1.2 for one that is survived, less than 0.75 for a fall."""
        self.lower.reflex = Reflex(gains_of(place))
        outcomes = [self.stands(*case) for case in self.pushes]
        return float(np.mean(outcomes) - PRIOR * np.square(place).sum())

    def stands(self, impulse: float, way: float) -> float:
        """Outcome of one push: above 1 the sooner it is calm, below 0.75 the sooner it fell."""
        env = self.env
        steps = [PUSH_STEP, 10 * MAX_STEPS]
        latent = {"impulse": impulse, "directions": [way, way], "steps": steps}
        env.reset(seed=0, options={"latent": latent})
        calm, action = 0, np.zeros(NUM_JOINTS)
        for step in range(MAX_STEPS):
            env.advance(action, past_end=True)  # the fall is judged by height alone
            if env.data.qpos[2] < LOST_HEIGHT_M:
                return 0.5 * step / 100
            quiet = step > 20 and bool((np.abs(self.lower.observe()[2:9]) < CALM).all())
            calm = calm + 1 if quiet else 0
            if calm >= CALM_STEPS:
                break
        return 1.0 + 0.2 * (1 - step / MAX_STEPS)


def search(config: ReflexSearchConfig) -> Path:
    """Search, or go on searching; returns the path of the gains."""
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
