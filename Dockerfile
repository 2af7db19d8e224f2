# Emotion2Vec+ Studio in a container.
#
#   build:  docker build --build-arg TORCH_INDEX=ADDRESS -t emotion2vec-studio .
#           where ADDRESS is PyTorch's index of CPU builds; with a graphics card leave --build-arg away
#   key:    docker run --rm emotion2vec-studio keys new anna
#   run:    docker run -p 7860:7860 -e EMOTION_API_KEYS='anna:...' -v models:/models -v outputs:/outputs \
#               --stop-timeout 45 emotion2vec-studio
#           with a graphics card: add --gpus all; behind a proxy: -e EMOTION_TRUSTED_PROXIES=172.17.0.1
#
# Without a key it does not start: inside a container every address is one that others reach.

# The full image has a compiler, for the few packages that come as source; the one that runs has none.
FROM python:3.11 AS packages

# Where else to look for torch. The index of CPU builds saves several GB of CUDA.
ARG TORCH_INDEX=

# Packages change less often than the program, so they are a layer of their own.
COPY requirements.txt ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt


FROM python:3.11-slim

ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR /app
COPY --from=packages /venv /venv
COPY pyproject.toml README.md LICENSE CHANGELOG.md app.py ./
COPY config ./config
COPY emotion ./emotion

# Numbers, so that an orchestrator can see that it is not root.
RUN groupadd --gid 10001 emotion \
    && useradd --uid 10001 --gid 10001 --create-home --home-dir /home/emotion --shell /usr/sbin/nologin emotion \
    && mkdir -p /models /outputs \
    && chown 10001:10001 /models /outputs
USER 10001:10001

ENV HOME=/home/emotion \
    EMOTION_HOST=0.0.0.0 \
    EMOTION_PORT=7860 \
    EMOTION_MODEL_CACHE=/models \
    EMOTION_OUTPUTS=/outputs

VOLUME ["/models", "/outputs"]
EXPOSE 7860

# It takes a while to load a model; after that, /healthz is answered in milliseconds.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['EMOTION_PORT'] + '/healthz', timeout=4)"]

# SIGTERM, which is what docker stop sends, ends it in order; give it more time than shutdown_s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "emotion"]
CMD ["serve"]
