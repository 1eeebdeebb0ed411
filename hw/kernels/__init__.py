"""How long a kernel takes on a chip: small differentiable models with constants fitted to timings."""

from .collective import Collective as Collective
from .collective import CollectiveShape as CollectiveShape
from .decode import Decode as Decode
from .decode import DecodeShape as DecodeShape
from .gemm import ClosedGemm as ClosedGemm
from .gemm import Gemm as Gemm
from .gemm import GemmShape as GemmShape
from .latent import LatentDecode as LatentDecode
from .moe import Moe as Moe
from .moe import MoeShape as MoeShape
from .prefill import Prefill as Prefill
from .prefill import PrefillShape as PrefillShape
from .rates import Rates as Rates
