"""Names for the tensors that models take and give; samples are in model range (`samples.py`)."""

from jaxtyping import Float, Float64, Int64
from torch import Tensor

Values = Float[Tensor, "*samples"]  # images or vectors
Images = Float[Tensor, "sample channel height width"]
Rows = Float[Tensor, "sample dimension"]
Latents = Float[Tensor, "sample latent"]
Features = Float[Tensor, "sample feature"]
Logits = Float[Tensor, "sample 1"]
Labels = Int64[Tensor, " sample"]
PerSample = Float[Tensor, " sample"]
Weights = Float64[Tensor, " sample"]
Scalar = Float[Tensor, ""]
