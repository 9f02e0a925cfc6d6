"""Route by a trained router: one generation per prompt, where sampling every teacher takes one of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from arbitrage.config import AbsolutePath, Raw
from arbitrage.contracts.routers import PoolMember
from arbitrage.errors import UserError
from routers.choice import ChoiceConfig, LearnedRouter


class LearnedConfig(ChoiceConfig):
    """Send each prompt to the teachers that a trained router predicts to be best.

    Attributes:
        artifact: the directory that `arbitrage router train` wrote; on a cluster, one that every node can read. Its
            content enters the fingerprint, its path does not.
    """

    kind: Literal["learned"] = "learned"
    artifact: AbsolutePath

    def identity(self) -> Raw:
        """Return the options, and a digest in place of the path.

        Raises:
            UserError: there is no router at this path.
        """
        from routers.learning.artifact import digest_of

        return {**super().identity(), "artifact": digest_of(self._directory())}

    def build(self, pool: Sequence[PoolMember]) -> LearnedRouter:
        """Load the router.

        Raises:
            UserError: there is none, or it was trained for another pool.
        """
        from routers.learning.artifact import load_artifact

        return self.with_predictor(load_artifact(self._directory()), pool, f"router.artifact: {self.artifact}")

    def _directory(self) -> Path:
        from routers.learning.artifact import ARRAYS, VALUES

        directory = Path(self.artifact)
        if not (directory / VALUES).is_file() or not (directory / ARRAYS).is_file():
            raise UserError(
                f"router.artifact: {directory}: holds no learned router ({VALUES} and {ARRAYS}); "
                "`arbitrage router train` writes one; on a cluster every node must be able to read it"
            )
        return directory
