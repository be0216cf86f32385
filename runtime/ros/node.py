"""The lifecycle node: parameters, subscriptions and services of ROS around a worker. It needs rclpy.

No callback waits for a model: an image is laid down for the worker's thread, an answer to ``~/ask`` is awaited without
holding the executor. Diagnostics have a thread of their own, since a board's sensors may take long to read. Only API of
ROS 2 Humble and newer is used.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.ros import health
from xsam_edge.runtime.ros.faults import Fault, Faults
from xsam_edge.runtime.ros.model import FrameModel, Load, load_bundle
from xsam_edge.runtime.ros.parameters import DESCRIPTIONS, Parameters
from xsam_edge.runtime.ros.prompts import FramePrompt, parse
from xsam_edge.runtime.ros.publishers import Publishers
from xsam_edge.runtime.ros.statistics import Statistics
from xsam_edge.runtime.ros.subscriptions import subscribed
from xsam_edge.runtime.ros.worker import Work, Worker
from xsam_edge.runtime.ros_messages.images import Pixels, to_array
from xsam_edge.runtime.stream.stream import Policy
from xsam_edge.runtime.tracking.tracker import Tracker

NAME = "xsam_node"
_PATIENCE = 5.0  # seconds that a transition waits for the frame that is at work


class XSamNode(LifecycleNode):  # type: ignore[misc]  # rclpy is not there where types are checked
    """Answers the newest image of a camera; see ``runtime/README.md`` for its topics, parameters and services.

    ``load`` stands in for loading a bundle, ``defaults`` are of parameters, ``options`` are those of rclpy's node.
    Raises InputError for a parameter that makes no sense.
    """

    def __init__(self, *, load: Load = load_bundle, defaults: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(options.pop("node_name", NAME), **options)
        self.state = "unconfigured"  # as the lifecycle calls it
        self._load = load
        self._worker: Worker | None = None
        self._model: FrameModel | None = None
        self._images: list[Any] = []  # subscriptions, while active
        self._newest: Any = None  # the last message
        self._prompt: FramePrompt | None = None
        self.statistics = Statistics()
        self.faults = Faults(self._log)
        self.parameters = self._declared(defaults or {})
        self._change_prompt(self.parameters.prompt)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._outputs = Publishers(self)
        prompts = MutuallyExclusiveCallbackGroup()
        self.create_subscription(String, "~/prompt", self._on_prompt, 1, callback_group=prompts)
        self.create_service(Trigger, "~/ask", self._on_ask, callback_group=MutuallyExclusiveCallbackGroup())
        self.health = health.Health(self)
        self.health.start()

    @property
    def model(self) -> FrameModel | None:
        """What answers, while it is configured."""
        return self._model

    @property
    def prompt(self) -> FramePrompt | None:
        """What frames are asked."""
        return self._prompt

    @property
    def images(self) -> Sequence[Any]:
        """Subscriptions to images, while it is active."""
        return tuple(self._images)

    # Transitions.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle."""
        try:
            self._model = self._load(self.parameters)
        except XSamError as error:
            self.faults.tell(time.monotonic(), "bundle", error, quiet=0)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # no memory, a bug of ours or a library's: rclpy would not say what it was
            self.faults.tell(time.monotonic(), "bundle", f"{type(error).__name__}: {error}", quiet=0)
            return TransitionCallbackReturn.FAILURE
        self.faults.over("bundle")
        if self._prompt is not None:
            self._check(self._prompt)
        self.state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to images, and answer them."""
        assert self._model is not None, "the lifecycle configures first"
        tracker = Tracker() if self.parameters.track else None
        work = Work(self._model, self._pixels, self._outputs.publish, tracker)
        self._worker = Worker(work, self._policy(), self._prompt, self.statistics, self.faults)
        self._worker.start()
        result = super().on_activate(state)
        for transport, kind, topic in (
            ("raw", Image, "~/image"),
            ("compressed", CompressedImage, "~/image/compressed"),
        ):
            if self.parameters.transport in ("both", transport):
                self._images.append(subscribed(self, kind, topic, self._on_image))
        self.state = "active"
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; the model stays loaded."""
        self.state = "inactive"
        self._stop(_PATIENCE)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self.state = "unconfigured"
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and free the model."""
        self.state = "finalized"
        self._stop(_PATIENCE)
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition failed for a reason that nobody foresaw; the node can be configured again."""
        self.faults.tell(time.monotonic(), "lifecycle", f"a transition from {state.label} failed; configure it again")
        self.state = "unconfigured"
        self._stop(_PATIENCE)
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def end(self, patience: float) -> bool:
        """Stop what runs on threads, before the node is destroyed; False where something runs on."""
        self.health.stop()
        return self._stop(patience)

    def _stop(self, patience: float) -> bool:
        for images in self._images:
            self.destroy_subscription(images)
        self._images.clear()
        worker, self._worker = self._worker, None
        return worker is None or worker.stop(patience)

    def _free(self) -> None:
        self._newest = None
        model, self._model = self._model, None
        if model is not None:
            model.close()

    # Callbacks.

    def _on_image(self, message: Any) -> None:
        self._newest = message
        if (worker := self._worker) is not None:
            worker.put(message)

    def _on_prompt(self, message: Any) -> None:
        (result,) = self.set_parameters([Parameter("prompt", value=message.data)])
        if not result.successful and self.prompt is not None:
            self.get_logger().warning(f"the former prompt stays: {self.prompt.text}")

    async def _on_ask(self, _request: Any, response: Any) -> Any:
        """The answer to ``ask_prompt`` about the newest image, as JSON in ``message``."""
        executor = self.executor
        future = Future(executor=executor)

        def answer() -> None:
            future.set_result(self._answered())
            executor.wake()  # it may wait for messages alone

        threading.Thread(target=answer, daemon=True, name="xsam-ask").start()
        response.success, response.message = await future
        return response

    def _answered(self) -> tuple[bool, str]:
        """Ask, and tell; whatever happens."""
        model, message = self._model, self._newest
        try:
            if model is None or self.state != "active":
                raise InputError(f"the node is {self.state}; activate it")
            if message is None:
                raise InputError("no image came yet")
            prompt = parse(self.parameters.ask_prompt) if self.parameters.ask_prompt.strip() else self._prompt
            if prompt is None:
                raise InputError("there is no prompt; set the parameter ask_prompt")
            results = model.answer(self._pixels(message), prompt)
            stamp = message.header.stamp
            facts = {"sec": stamp.sec, "nanosec": stamp.nanosec, "frame_id": message.header.frame_id}
            return True, json.dumps(
                {"header": facts, "prompt": prompt.text, "results": [result.to_json() for result in results]}
            )
        except Exception as error:  # who asked is told, and the node lives
            return False, str(error) or type(error).__name__

    def _pixels(self, message: Any) -> Pixels:
        return to_array(message, depth_range=self.parameters.depth_range)

    # Parameters.

    def _declared(self, defaults: Mapping[str, Any]) -> Parameters:
        values = Parameters.of(defaults).values()
        for name, description in DESCRIPTIONS.items():
            # Types are checked here, in words; a whole number is a number of milliseconds too.
            descriptor = ParameterDescriptor(description=description, dynamic_typing=True)
            values[name] = self.declare_parameter(name, values[name], descriptor).value
        return Parameters.of(values)

    def _on_parameters(self, changed: Sequence[Any]) -> Any:
        """Take all of them, or none."""
        changed_prompt = any(item.name == "prompt" for item in changed)
        values = {**self.parameters.values(), **{item.name: item.value for item in changed}}
        try:
            parameters = Parameters.of(values)
            if parameters.ask_prompt.strip():
                self._checked(parse(parameters.ask_prompt))
            prompt = self._checked(parse(parameters.prompt)) if changed_prompt else self._prompt
        except InputError as error:
            kind = "prompt" if any("prompt" in item.name for item in changed) else "parameters"
            self.faults.tell(time.monotonic(), kind, error, lasts=60, quiet=0)
            return SetParametersResult(successful=False, reason=str(error))
        self.parameters = parameters
        self.faults.over("parameters")
        if changed_prompt:
            self._take(prompt)
        if self._worker is not None:
            self._worker.follow(self._policy())
        return SetParametersResult(successful=True)

    def _change_prompt(self, text: str) -> None:
        """The prompt of the start, which may be none."""
        try:
            self._prompt = parse(text) if text.strip() else None
        except InputError as error:
            self.faults.tell(time.monotonic(), "prompt", error)

    def _check(self, prompt: FramePrompt) -> None:
        try:
            self._checked(prompt)
        except InputError as error:
            self.faults.tell(time.monotonic(), "prompt", error)
            self._prompt = None

    def _checked(self, prompt: FramePrompt) -> FramePrompt:
        if self._model is not None:
            self._model.check(prompt)
        return prompt

    def _take(self, prompt: FramePrompt | None) -> None:
        self.faults.over("prompt")
        if prompt is None or prompt == self._prompt:
            return
        self._prompt = prompt
        self.get_logger().info(f"the prompt is now: {prompt.text}")
        if self._worker is not None:
            self._worker.ask(prompt)

    def _policy(self) -> Policy:
        clock = self._seconds if self.parameters.age_from == "stamp" else None
        return Policy(True, self.parameters.deadline or None, self.parameters.overlap, clock)

    def _seconds(self) -> float:
        return 1e-9 * float(self.get_clock().now().nanoseconds)

    def _log(self, fault: Fault) -> None:
        # rclpy wants a line of code for each severity.
        if fault.error:
            self.get_logger().error(f"{fault.kind}: {fault.message}")
        else:
            self.get_logger().warning(f"{fault.kind}: {fault.message}")
