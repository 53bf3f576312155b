# mlsys in a container. Build it with scripts/build_image.sh, `docker build .`, podman or buildah. Pin the base by its digest:
#   --build-arg BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm

# -- what compiles and downloads stays here
FROM ${BASE} AS build
ARG EXTRAS=holidays,redis
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/mlsys
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY mlsys ./mlsys
COPY migrations ./migrations
RUN /opt/mlsys/bin/pip install --no-cache-dir ".[${EXTRAS}]"

# -- what runs
FROM ${BASE}
# libgomp1: LightGBM's threads. Its version is the base's affair, which a digest pins.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/mlsys --shell /usr/sbin/nologin mlsys \
    && install -d -o mlsys -g mlsys -m 0700 /var/lib/mlsys \
    && install -d -o mlsys -g mlsys -m 0755 /data /etc/mlsys
COPY --from=build /opt/mlsys /opt/mlsys
# the home is no data root: what mlsys keeps for itself cannot be named by a request
ENV PATH=/opt/mlsys/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MLSYS_HOME=/var/lib/mlsys \
    MLSYS_DATA__ROOTS=/data
USER 10001:10001
WORKDIR /etc/mlsys
VOLUME ["/data", "/var/lib/mlsys"]
EXPOSE 5000
STOPSIGNAL SIGTERM
# degraded still serves: only "down" is 503
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health/', timeout=8)"]
ENTRYPOINT ["mlsys"]
# another address than loopback is refused until there is a token: mlsys token create
CMD ["serve", "--host", "0.0.0.0"]
