# Every target sets up the environment it needs in .venv; a fresh clone needs Python 3.11 and nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-output
TRAINED := trained
BENCH := benchmark-bundle

.PHONY: calibration-study test-browser test-ray test-triton test-ros benchmark-int8 gpu-check gpu-pack help setup demo test test-engines test-lowest test-slow gpu-test lint format benchmark train clean

help:
	@echo "make demo       export the demo model, segment a picture, say where to look"
	@echo "make test       run the tests in two processes (JOBS=2), some ten minutes, and print the ten slowest"
	@echo "make test-engines  run the tests that compile engines with TensorRT-RTX, which needs no GPU"
	@echo "make test-lowest  run the runtime's tests on the oldest versions that are allowed, and on the newest"
	@echo "make test-browser  run the tests of xsam-serve's page in Chromium, which must be installed"
	@echo "make test-ray   run the tests of xsam-label --ray, with two workers, in an environment that has Ray"
	@echo "make test-triton  run the tests that need a Triton server, with that of nvidia-pytriton"
	@echo "make test-ros  run the tests of the ROS 2 node over DDS, in an environment with the wheels of ROS 2; needs cmake and a compiler"
	@echo "make test-slow  run the tests that take minutes or gigabytes"
	@echo "make gpu-test   run the tests that need an NVIDIA GPU, with what is installed"
	@echo "make gpu-check  check a GPU in minutes: rates, right answers, times of the full-size model, against PyTorch"
	@echo "make gpu-pack   gather what that takes into .gpu, also for a machine without network"
	@echo "make lint       ruff and mypy"
	@echo "make benchmark  the runtime against torch, on a model of 114 M random parameters"
	@echo "make benchmark-int8  INT8 against FP32 on this CPU"
	@echo "make calibration-study  what INT8's masks owe to the number of calibration pictures: 50 minutes of one core"
	@echo "make train      train the demo model anew: 85 minutes on two cores, into trained/"

# A file records that the environment matches pyproject.toml. torch is pinned first and alone, so that pip does not
# pick another build of it.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[cpu,export,dev]'
	touch $@

setup: $(VENV)/.ready

demo: setup
	$(BIN)/python examples/demo.py --output $(DEMO)

# Tests of one file share what they prepare, so that files, not tests, are dealt out to JOBS processes.
JOBS ?= 2
QUICK := not slow and not gpu and not engines and not browser and not ray and not triton and not ros
test: setup
	$(BIN)/python -m pytest -m "$(QUICK)" --durations=10 -n $(JOBS) --dist loadfile

test-engines: setup
	$(BIN)/python -m pytest -m "engines and not gpu" --durations=10 -n $(JOBS) --dist loadfile

# Playwright drives the system's Chromium (`apt-get install chromium`) and downloads none of its own.
test-browser: setup
	$(BIN)/pip install --quiet --disable-pip-version-check 'playwright>=1.50'
	$(BIN)/python -m pytest -m browser -rs tests/runtime/serve

test-lowest: setup
	$(BIN)/python -m tests.versions $(VENV)-versions

# Ray is large, and an environment of its own has it beside all that .venv has.
RAY := $(VENV)-ray
$(RAY)/.ready: $(VENV)/.ready
	$(PYTHON) -m venv --clear $(RAY)
	cd $(RAY)/lib/python*/site-packages && printf '%s\n' $(abspath $(VENV))/lib/python*/site-packages $(abspath .src) > main.pth
	$(RAY)/bin/pip install --quiet --disable-pip-version-check 'ray[data]>=2.40' 'colorama>=0.4' 'pyarrow>=15'
	touch $@

test-ray: $(RAY)/.ready
	$(RAY)/bin/python -m pytest -m ray

test-triton: setup
	$(BIN)/python -m tests.triton_server $(VENV)-triton

# The distribution's packages as wheels, which are those of ROS 2 Kilted and lack vision_msgs: that one is built.
ROS := $(VENV)-ros
ROS_WHEELS = rclpy sensor-msgs std-srvs diagnostic-msgs lifecycle-msgs geometry-msgs rmw-fastrtps-cpp \
	rmw-fastrtps-shared-cpp fastdds rmw-dds-common rosidl-dynamic-typesupport-fastrtps rosidl-default-generators \
	rosidl-core-generators ament-package ament-cmake ament-cmake-core ament-cmake-export-definitions \
	ament-cmake-export-dependencies ament-cmake-export-include-directories ament-cmake-export-interfaces \
	ament-cmake-export-libraries ament-cmake-export-link-flags ament-cmake-export-targets ament-cmake-gen-version-h \
	ament-cmake-include-directories ament-cmake-libraries ament-cmake-python ament-cmake-target-dependencies \
	ament-cmake-test ament-cmake-version ament-cmake-ros ament-cmake-ros-core ament-cmake-gmock ament-cmake-gtest \
	ament-cmake-pytest fastrtps-cmake-module python-cmake-module
$(ROS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(ROS)
	$(ROS)/bin/pip install --quiet --disable-pip-version-check 'pytest>=8' 'numpy>=1.26' 'pillow>=10.3' 'tokenizers>=0.21' \
		'onnxruntime>=1.20' catkin_pkg 'empy==3.3.4' $(addprefix ros-,$(ROS_WHEELS))
	PYTHONPATH=.src:. $(ROS)/bin/python -m tests.runtime.ros.interfaces
	touch $@

# ROS_SECONDS=600 before a release: how long memory is watched.
ROS_SECONDS ?= 60
$(ROS)/bundles/shapes/manifest.json: $(VENV)/.ready
	$(BIN)/xsam-export --checkpoint shapes --overwrite -o $(ROS)/bundles/shapes

test-ros: $(ROS)/.ready $(ROS)/bundles/shapes/manifest.json
	XSAM_TEST_BUNDLES=$(abspath $(ROS))/bundles ROS_SECONDS=$(ROS_SECONDS) PYTHONPATH=.src \
		$(ROS)/bin/python -m pytest -m ros tests/runtime/ros --durations=10

test-slow: setup
	$(BIN)/python -m pytest -m slow

# On a Jetson TensorRT belongs to the system's Python: `make gpu-test GPU_PYTHON=python3` runs that one as it is.
GPU_PYTHON ?= $(BIN)/python
gpu-test: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),setup)
	$(GPU_PYTHON) -m pytest -m gpu -rs

# Where torch and what runs graphs are installed already, such as on a machine without network:
# `make gpu-check GPU_PYTHON=python3 ARGS="--parts .gpu/1 --steps facts,roof"`. ARGS are options of the check, for gpu-pack
# of packing, such as ARGS="--onnxruntime onnxruntime_gpu.whl".
GPU_CHECK = PYTHONPATH=.src$(if $(PYTHONPATH),:$(PYTHONPATH)) $(GPU_PYTHON) -m xsam_edge.benchmarks.gpu_check
gpu-check: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),setup)
	$(GPU_CHECK) run $(ARGS)

gpu-pack: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),setup)
	$(GPU_CHECK) pack $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A model of 114 million random parameters with real token counts.
$(BENCH)/manifest.json: $(VENV)/.ready benchmarks/small.json
	$(BIN)/xsam-export --random-weights --variant phi3 --config benchmarks/small.json --overwrite -o $(BENCH)

benchmark: $(BENCH)/manifest.json
	$(BIN)/xsam-bench $(BENCH) --against torch --against torch-compile --markdown --html $(BENCH)/latency.html $(ARGS) \
		> $(BENCH)/latency.md
	mv $(BENCH)/latency.md benchmarks/results/latency.md
	@echo "Look at benchmarks/results/latency.md and $(BENCH)/latency.html"

# INT8 against FP32 on this CPU, at the widths of real models.
WIDE = --random-weights --variant phi3 --config benchmarks/wide.json --overwrite
benchmark-int8: setup
	$(BIN)/xsam-export $(WIDE) -o $(BENCH)-fp32
	$(BIN)/xsam-export $(WIDE) --precision int8 --float-precision fp32 --calibration-samples 1 -o $(BENCH)-int8
	$(BIN)/python -m xsam_edge.benchmarks.quantized $(BENCH)-int8 $(BENCH)-fp32 $(ARGS)

STUDY := calibration-study
calibration-study: setup
	$(BIN)/python -m xsam_edge.benchmarks.calibration_study $(STUDY) $(ARGS)

# ARGS are options of the training, such as ARGS="--steps 300".
train: setup
	$(BIN)/python -m xsam_edge.export.demo.training -o $(TRAINED) $(ARGS)

clean:
	rm -rf $(VENV) $(STUDY) $(VENV)-versions $(VENV)-ray $(VENV)-triton $(VENV)-ros $(DEMO) $(TRAINED) $(BENCH) $(BENCH)-fp32 $(BENCH)-int8 .gpu build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
