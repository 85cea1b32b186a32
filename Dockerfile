# The images: one build, one base, and a target for each role. The one rule to know: the images differ in the name that the
# program is called by, and in nothing that is compiled.
#
#   docker build --target server     -t llamapool-server .
#   docker build --target mcp-worker -t llamapool-mcp-worker .
#   docker build --target worker     -t llamapool-worker .
#
# BASE_IMAGE must have glibc, as new as the build image's or newer, and libgcc_s: a Debian, or a distroless "cc" image.
ARG BUILD_IMAGE=rust:1-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
# What the program says of itself; `unknown` when not given. A build argument is an environment variable of the commands
# that follow it.
ARG LLAMAPOOL_BUILD_SHA
ARG LLAMAPOOL_BUILD_DATE
# The caches are not part of any image, so the executable is copied out of them in the same step. What is built there may be
# of another checkout, and cargo takes a source for unchanged that is older: so every source is of now, one build at a time.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    find Cargo.toml Cargo.lock crates -type f -exec touch {} + && \
    cargo build --profile dist --locked -p llamapool && \
    install -D --strip target/dist/llamapool /out/llamapool && \
    ln -s llamapool /out/llamapool-server && \
    ln -s llamapool /out/llamapool-mcp && \
    ln -s llamapool /out/llamapool-worker && \
    mkdir -p /state

FROM ${BASE_IMAGE} AS program
# The public certificate authorities, for relays that dial a wss:// server; slim images have none of their own.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
# A number, because a platform that forbids root cannot tell what a name stands for.
USER 65532:65532

FROM program AS server
# What outlives a restart of the server. Mount a volume here to keep it when the container is replaced.
COPY --from=build --chown=65532:65532 --chmod=700 /state /var/lib/llamapool
ENV STATE_DIRECTORY=/var/lib/llamapool
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/llamapool-server"]

FROM program AS mcp-worker
# The status page, where a published port can reach it.
ENV STATUS_ADDR=0.0.0.0:4555
EXPOSE 4555
ENTRYPOINT ["/usr/local/bin/llamapool-mcp"]

FROM program AS worker
# The status page, where a published port can reach it.
ENV STATUS_ADDR=0.0.0.0:4555
EXPOSE 4555
ENTRYPOINT ["/usr/local/bin/llamapool-worker"]
