# docker build -f containers/gpu.Dockerfile -t vqafast-gpu .
# docker run --gpus all vqafast-gpu doctor
FROM nvidia/cuda:13.0.0-devel-ubuntu24.04 AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip wheel --no-cache-dir --wheel-dir /wheels "/src[farm,serve,tensorrt]"

FROM nvidia/cuda:13.0.0-base-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/vqafast
COPY --from=build /wheels /wheels
RUN /opt/vqafast/bin/pip install --no-cache-dir --no-index --find-links /wheels "vqafast[farm,serve,tensorrt]" \
    && rm -rf /wheels && useradd --create-home vqafast
# What is brought into the container of the driver: without "video" nothing decodes on the GPU.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER vqafast
ENTRYPOINT ["/opt/vqafast/bin/vqafast"]
CMD ["doctor"]
