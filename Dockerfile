# The web page of a panel, which is mounted at /panel: docker compose up (compose.yaml)
FROM python:3.11-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[web]" && useradd --uid 1000 --no-create-home consilience
# Diagnoses and feedback are written into the panel: run it as whoever owns that. Caches may be lost.
USER 1000:1000
ENV HOME=/tmp CONSILIENCE_PANEL=/panel
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
CMD ["consilience", "web", "--host", "0.0.0.0", "--port", "8080"]
