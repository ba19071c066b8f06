#!/usr/bin/env bash
# Generates the Python code of rft.v1, or with --check proves that the committed code is what the
# .proto files give. The generator is the oldest supported one: newer code does not load on protobuf 6.33.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="${RFT_PROTOS_VENV:-$here/../.venv-protos}"
tools="grpcio-tools==1.76.0"
if ! "$venv/bin/python" -c 'import grpc_tools' 2>/dev/null || [ ! -x "$venv/bin/buf" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet "$tools" "protobuf>=6.33,<7" "setuptools<82" "buf-bin>=1.50"
fi

generate() { # generate FOLDER
    (cd "$here" && "$venv/bin/python" -m grpc_tools.protoc -I. \
        --python_out="$1" --pyi_out="$1" --grpc_python_out="$1" rft/v1/*.proto)
}

(cd "$here" && "$venv/bin/buf" lint && "$venv/bin/buf" build -o /dev/null)
if [ "${1:-}" = "--check" ]; then
    fresh="$(mktemp -d)"
    trap 'rm -rf "$fresh"' EXIT
    generate "$fresh"
    for file in "$fresh"/rft/v1/*; do
        if ! diff -u "$here/rft/v1/$(basename "$file")" "$file"; then
            echo "rft/v1/$(basename "$file") is not what the .proto files give; run protos/generate.sh" >&2
            exit 1
        fi
    done
    for file in "$here"/rft/v1/*_pb2*; do
        if [ ! -e "$fresh/rft/v1/$(basename "$file")" ]; then
            echo "rft/v1/$(basename "$file") has no .proto file any more; delete it" >&2
            exit 1
        fi
    done
    PYTHONPATH="$here" "$venv/bin/python" -c \
        'from rft.v1 import grader_pb2_grpc, sampler_pb2_grpc, worker_pb2_grpc' # loads on the oldest protobuf
    echo "generated code is up to date"
else
    generate "$here"
fi
