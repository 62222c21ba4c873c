# Duet's images: the service, and with `--target training` the trainer. RUNTIME=gpu brings CUDA and cuDNN, from wheels:
#   docker build --tag duet .
#   docker build --build-arg RUNTIME=gpu --tag duet:gpu .

FROM python:3.11-slim AS runtime
ARG RUNTIME=cpu
WORKDIR /build
# The environment gets no pip: into the finished image nothing is installed.
RUN python -m venv --without-pip /opt/duet
COPY requirements/${RUNTIME}.txt requirements.txt
RUN pip --python /opt/duet/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt

FROM runtime AS installed
COPY requirements/build.txt ./
RUN python -m venv /opt/builder && /opt/builder/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r build.txt
COPY pyproject.toml LICENSE ./
COPY service service
RUN /opt/builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
 && pip --python /opt/duet/bin/python install --no-cache-dir --no-deps wheels/*.whl \
 && rm -f /opt/duet/bin/duet-train /opt/duet/bin/duet-camera # what they would start is not in this image

# What every image has in common: a user without rights, and nothing to write to but volumes and /tmp.
FROM python:3.11-slim AS base
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin duet
ENV PATH=/opt/duet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="Duet" \
      org.opencontainers.image.description="Finds what is wrong in a picture" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /tmp

# torch comes as its registry builds it, with CUDA: pinned, but without hashes, because every build of it has others.
FROM runtime AS trainer
COPY requirements/training.txt ./
RUN grep -v '^onnxruntime==' training.txt > without-runtime.txt \
 && pip --python /opt/duet/bin/python install --no-cache-dir --only-binary :all: -r without-runtime.txt
COPY --from=installed /opt/builder /opt/builder
COPY pyproject.toml LICENSE ./
COPY service service
COPY training training
RUN /opt/builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
 && pip --python /opt/duet/bin/python install --no-cache-dir --no-deps wheels/*.whl

FROM base AS training
COPY --from=trainer /opt/duet /opt/duet
COPY --chown=duet models /models
RUN install --directory --owner duet /runs
USER 10001:10001
VOLUME ["/models", "/runs"]
WORKDIR /runs
ENTRYPOINT ["duet-train"]
CMD ["--help"]

FROM base AS service
# CUDA's driver comes from the host; the container toolkit hands it in for these two.
ENV DUET_HOST=0.0.0.0 DUET_MODELS=/models NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=installed /opt/duet /opt/duet
COPY --chown=duet models /models
COPY deploy/healthcheck.py /opt/duet/healthcheck.py
USER 10001:10001
EXPOSE 8000
# A script, because some engines split arguments at their spaces.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/duet/healthcheck.py"]
ENTRYPOINT ["duet-serve"]
