#!/usr/bin/env bash
# Builds the image `mlsys` with whatever is here: docker, podman, or buildah without any daemon (Debian: apt-get install buildah).
#
#   scripts/build_image.sh [NAME]                   NAME: default mlsys
#   BASE=python:3.11-slim-bookworm@sha256:...       the base, pinned by its digest
#   BASE=debootstrap                                a base made here, from Debian's own packages: no registry of images is needed
#   MOUNTS="/opt/wheels /etc/pip.conf"              files of this machine that the build may read (buildah only)
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-mlsys}
base=${BASE:-python:3.11-slim-bookworm}

if [ "$base" != debootstrap ]; then
    for builder in docker podman; do
        if command -v $builder > /dev/null && $builder info > /dev/null 2>&1; then
            exec $builder build --build-arg "BASE=$base" --tag "$name" .
        fi
    done
fi
command -v buildah > /dev/null || { echo "No docker or podman that answers, and no buildah: apt-get install buildah" >&2; exit 1; }

# chroot isolation and plain folders as layers work where user namespaces and overlays are refused, in a container say
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}

if [ "$base" = debootstrap ]; then
    base=localhost/mlsys-base
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" ${DEBIAN_MIRROR:-}
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root" /
    buildah commit --quiet --rm "$container" "$base"
fi

volumes=()
for mount in ${MOUNTS:-}; do volumes+=(--volume "$mount:$mount:ro"); done
buildah build --format docker --build-arg "BASE=$base" "${volumes[@]}" --tag "$name" .
buildah inspect --type image --format '{{.FromImageID}} {{.Docker.Config.User}} {{.Docker.Config.Healthcheck}}' "$name"
