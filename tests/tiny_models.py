"""Networks that train in a second, on images of 8x8 pixels."""

SWITCHED_OFF = {
    "norm": None, "depth": None, "dropout": None, "width_factor": None, "latent_factor": None, "num_classes": None,
}  # fmt: skip
VAE_SWITCHED_OFF = {**SWITCHED_OFF, "latent_components": None}

VAE_SETTINGS = {
    "body": "conv",
    "sample_shape": [1, 8, 8],
    "latent_dim": 4,
    "width": 8,
    "beta": 1.0,
    "likelihood": "bernoulli",
    "pixel_sd": 0.1,
    "sample_from": "mean",
    "learning_rate": 1e-3,
    **VAE_SWITCHED_OFF,
}
GAN_SETTINGS = {
    "body": "conv",
    "sample_shape": [1, 8, 8],
    "latent_dim": 4,
    "generator_width": 8,
    "critic_width": 8,
    "loss": "hinge",
    "has_spectral_norm": True,
    "gradient_penalty": 10.0,
    "critic_steps": 1,
    "ema_decay": 0.9,
    "generator_learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "adam_betas": [0.5, 0.9],
    **SWITCHED_OFF,
}
FLOW_SETTINGS = {
    "body": None,
    "sample_shape": [1, 8, 8],
    "patch_side": 2,
    "width": 4,
    "vector_sd": 1.0,
    "solver": "midpoint",
    "num_steps": 2,
    "learning_rate": 1e-3,
    **{key: None for key in SWITCHED_OFF if key != "latent_factor"},
}
