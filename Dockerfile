# Image of flysim for docker-compose.yml. Build: docker build -t flysim .
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints.txt .
RUN python -m venv tools && tools/bin/pip install -c constraints.txt hatchling
RUN python -m venv --without-pip /opt/flysim
# Dependencies in a layer of their own, which is rebuilt only if constraints.txt or pyproject.toml changes.
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > requirements.txt \
 && tools/bin/pip --python /opt/flysim install -c constraints.txt -r requirements.txt
COPY . .
RUN PATH=/build/tools/bin:$PATH tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && tools/bin/pip --python /opt/flysim install --no-deps dist/*.whl

FROM python:3.13-slim
COPY --from=build /opt/flysim /opt/flysim
ENV PATH=/opt/flysim/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /project
USER 65534:65534
ENTRYPOINT ["flysim"]
CMD ["--help"]
