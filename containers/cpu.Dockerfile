# docker build -f containers/cpu.Dockerfile -t vqafast .
# Two stages: the compiler stays behind.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip wheel --no-cache-dir --wheel-dir /wheels "/src[farm,serve]"

FROM python:3.11-slim-bookworm
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels "vqafast[farm,serve]" && rm -rf /wheels \
    && useradd --create-home vqafast
USER vqafast
ENTRYPOINT ["vqafast"]
CMD ["doctor"]
