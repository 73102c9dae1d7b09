# Releases are built from the images of .github/base-images.env, by digest. What is built here is for development, from the tags.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static:nonroot

# The builder runs on the machine's own platform and cross-compiles: no emulation for a foreign TARGETARCH.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS builder
WORKDIR /workspace

# The modules are a layer of their own, which stands until go.mod or go.sum change.
COPY go.mod go.sum ./
RUN go mod download

COPY api/ api/
COPY cmd/ cmd/
COPY internal/ internal/

# Set by the builder from --platform; left empty, Go builds for the platform it runs on.
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o manager ./cmd/manager

# No shell and no package manager; CA certificates and time zones are in it.
FROM ${BASE_IMAGE}
COPY --from=builder /workspace/manager /manager
# By number, since runAsNonRoot cannot check a name.
USER 65532:65532
ENTRYPOINT ["/manager"]
