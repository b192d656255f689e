# The container image. What is in it and how it is tried without a container engine: docs/image.md.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
# Of the commit, for times that are told; `make image` gives it.
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY requirements.txt ./
COPY image ./image
RUN ["python", "-m", "image", "packages", "packages"]
COPY pyproject.toml README.md LICENSE ./
COPY sentry_trio ./sentry_trio
RUN ["python", "-m", "image", "tree", "packages", "tree"]

FROM scratch
COPY --from=build /build/tree /
USER 65532:65532
EXPOSE 50001 8080 9090
ENTRYPOINT ["/sentry"]
