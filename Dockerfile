# CPU by default; a GPU image takes a CUDA base and torch's default build:
#   docker build -t collapsar .
#   docker build -t collapsar-gpu --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 --build-arg TORCH_BACKEND= .
#   docker run --rm -v "$PWD/outputs:/home/collapsar/app/outputs" collapsar
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG TORCH_BACKEND=cpu

# A CUDA base brings no Python; a Python base has one already.
RUN command -v python3 >/dev/null || (apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-pip \
    && rm -rf /var/lib/apt/lists/*)

RUN useradd --create-home collapsar
USER collapsar
WORKDIR /home/collapsar/app

COPY --chown=collapsar pyproject.toml README.md LICENSE constraints.txt ./
COPY --chown=collapsar scripts scripts
COPY --chown=collapsar src src
COPY --chown=collapsar conf conf
RUN UV_TORCH_BACKEND=${TORCH_BACKEND} bash -c 'source scripts/environment'

# Real data come from a volume: docker run -v /path/to/data:/data -e COLLAPSAR_DATA=/data ...
ENV UV_TORCH_BACKEND=${TORCH_BACKEND}
ENTRYPOINT ["scripts/run"]
CMD ["experiment=quickstart"]
