# Two images, one stage each:
#
#   docker build --target general      -t byzantine/general .        one general
#   docker build --target orchestrator -t byzantine/orchestrator .   the laboratory
#
# `byzantine images build` does both. BASE_IMAGE is any Debian with Python >= 3.11 as `python3`, with
# its venv module and pip: on a host that reaches no image registry, what `images/base` makes.
# Stages that only build are left behind; what they leave is the packages that uv.lock names, each
# checked against its hash.

ARG BASE_IMAGE=python:3.12-slim-bookworm


FROM ${BASE_IMAGE} AS tools
# The bundle that the system trusts is the one that uv must trust too: it may hold a company's own.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_NO_CACHE=1 \
    UV_PYTHON=/opt/uv/bin/python
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir 'uv>=0.8,<1'
ENV PATH=/opt/uv/bin:$PATH
WORKDIR /build
COPY pyproject.toml uv.lock ./


FROM tools AS general-packages
RUN uv export --quiet --frozen --no-emit-project --only-group general --output-file locked.txt \
 && uv pip install --quiet --require-hashes --only-binary :all: \
      --target /packages --requirement locked.txt \
 && rm -rf /packages/bin \
 && find /packages -type d -name tests -prune -exec rm -rf {} +


FROM tools AS orchestrator-packages
RUN uv export --quiet --frozen --no-emit-project --no-dev --output-file locked.txt \
 && uv pip install --quiet --require-hashes --only-binary :all: \
      --target /packages --requirement locked.txt \
 && find /packages -type d -name tests -prune -exec rm -rf {} +
COPY README.md ./
COPY node node
COPY orchestrator orchestrator
COPY scenarios scenarios
RUN uv pip install --quiet --no-deps --target /packages .


# What both run on: no installer, no way to become somebody else, and one thread for each general
# of many on one machine.
FROM ${BASE_IMAGE} AS bare
RUN python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
 && find / -xdev \( -path '*/python3*/ensurepip' -o -path '*-packages/pip' -o -path '*-packages/wheel' \
      -o -path '*-packages/setuptools' -o -path '*-packages/pip-*' -o -path '*-packages/wheel-*' \
      -o -path '*-packages/setuptools-*' -o -path '*-packages/pkg_resources' \
      -o -path '*/bin/pip*' -o -path '/usr/share/python-wheels' \) -prune -exec rm -rf {} + \
 && groupadd --gid 65532 byzantine \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin byzantine
ENV PYTHONPATH=/opt/byzantine \
    PYTHONSAFEPATH=1 \
    OPENBLAS_NUM_THREADS=1 \
    MALLOC_ARENA_MAX=2
WORKDIR /opt/byzantine
ARG VERSION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.version=${VERSION} \
      byzantine.source=${SOURCE}


FROM bare AS orchestrator
COPY --from=orchestrator-packages /packages ./
RUN python3 -m compileall -q /opt/byzantine \
 && python3 -c 'import orchestrator.__main__' \
 && install -d -o 65532 -g 65532 /runs
LABEL org.opencontainers.image.title="byzantine orchestrator" \
      org.opencontainers.image.description="A laboratory for Byzantine agreement."
USER 65532:65532
WORKDIR /runs
STOPSIGNAL SIGTERM
ENTRYPOINT ["python3", "-m", "orchestrator"]
CMD ["--help"]


# Last, so that a plain `docker build .` gives a general.
FROM bare AS general
COPY --from=general-packages /packages ./
COPY node node
# Byte code is made here once, of the standard library too, because a general cannot write any. A
# replica's volume takes its owner from the folder that it is mounted on.
RUN python3 -m compileall -q /opt/byzantine \
 && python3 -c 'import node.__main__, node.replica_runtime, node.enlistment' \
 && install -d -o 65532 -g 65532 /run/byzantine \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/byzantine
ENV BYZANTINE_HEALTH=/run/byzantine
LABEL org.opencontainers.image.title="byzantine general" \
      org.opencontainers.image.description="One general of a Byzantine agreement."
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks the general's own main thread. Seldom: on a small machine, thirty such questions are felt.
HEALTHCHECK --interval=30s --timeout=5s --retries=3 \
  CMD ["python3", "-IS", "/opt/byzantine/node/health.py"]
ENTRYPOINT ["python3", "-m", "node"]
