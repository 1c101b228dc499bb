# docker build -f containers/cpu.Dockerfile -t vqafast .
# docker run --rm -v /media:/media:ro vqafast score /media/clip.mp4
# docker run --rm -p 8080:8080 -v /media:/media:ro vqafast serve --root /media --host 0.0.0.0
# Two stages: the compiler stays behind.
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python3 -m venv /opt/vqafast && /opt/vqafast/bin/pip install --no-cache-dir "/src[farm,serve]"

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home vqafast
COPY --from=build /opt/vqafast /opt/vqafast
USER vqafast
ENTRYPOINT ["/opt/vqafast/bin/vqafast"]
CMD ["doctor"]
