# Duet's images: the service, and by `--target training` and `--target camera` the trainer and the camera client. RUNTIME=gpu brings
# CUDA and cuDNN in, from wheels, and RUNTIME=openvino OpenVINO:
#   docker build --tag duet:cpu .
#   docker build --build-arg RUNTIME=gpu --tag duet:gpu .

# An environment that gets no pip, because nothing is to be installed into a finished image; and beside it what builds Duet's wheel.
FROM python:3.11-slim AS builder
WORKDIR /build
COPY requirements/build.txt requirements/
RUN python -m venv --without-pip /opt/duet \
 && python -m venv /opt/builder \
 && /opt/builder/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt

FROM builder AS runtime
ARG RUNTIME=cpu
COPY requirements/${RUNTIME}.txt requirements/
RUN pip --python /opt/duet/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements/${RUNTIME}.txt

FROM runtime AS service-environment
COPY deploy/install-wheel.sh pyproject.toml LICENSE ./
COPY service service
RUN sh install-wheel.sh duet-serve

# torch comes as its registry builds it, with CUDA: pinned, but without hashes, because each build of it has others.
FROM runtime AS training-environment
COPY requirements/training.txt requirements/
RUN grep -v '^onnxruntime==' requirements/training.txt > requirements/without-runtime.txt \
 && pip --python /opt/duet/bin/python install --no-cache-dir --only-binary :all: -r requirements/without-runtime.txt
COPY deploy/install-wheel.sh pyproject.toml LICENSE ./
COPY service service
COPY training training
RUN sh install-wheel.sh duet-train

# The simulated line renders its parts with training.data; weights and torch stay out.
FROM builder AS camera-environment
COPY requirements/camera.txt requirements/
RUN pip --python /opt/duet/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements/camera.txt
COPY deploy/install-wheel.sh pyproject.toml LICENSE ./
COPY service service
COPY client client
COPY training/*.py training/
COPY training/data training/data
RUN sh install-wheel.sh duet-camera

# What the images have in common: a user without rights, who can write to volumes and /tmp.
FROM python:3.11-slim AS base
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin duet
ENV PATH=/opt/duet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="Duet" \
      org.opencontainers.image.description="Finds what is wrong in a picture" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# Which commit it is: --build-arg REVISION=$(git rev-parse HEAD)
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
WORKDIR /tmp

FROM base AS training
COPY --from=training-environment /opt/duet /opt/duet
COPY --chown=duet models /models
RUN install --directory --owner duet /runs
USER 10001:10001
WORKDIR /runs
ENTRYPOINT ["duet-train"]
CMD ["--help"]

FROM base AS camera
COPY --from=camera-environment /opt/duet /opt/duet
RUN install --directory --owner duet /spool
USER 10001:10001
WORKDIR /spool
ENTRYPOINT ["duet-camera"]
CMD ["--help"]

FROM base AS service
# CUDA's driver comes from the host; its container toolkit hands it in for these two.
ENV DUET_HOST=0.0.0.0 DUET_MODELS=/models NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=service-environment /opt/duet /opt/duet
COPY --chown=duet models /models
COPY deploy/healthcheck.py /opt/duet/healthcheck.py
RUN install --directory --owner duet /archive
USER 10001:10001
EXPOSE 8000
# A script, because some engines split arguments at their spaces.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/duet/healthcheck.py"]
ENTRYPOINT ["duet-serve"]
