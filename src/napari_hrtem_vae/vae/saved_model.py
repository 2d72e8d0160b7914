"""A TensorFlow SavedModel as a graph of data: nothing of it is executed.

Numbers of fields are those of tensorflow/core/protobuf/saved_model.proto, meta_graph.proto and
saved_object_graph.proto, and of tensorflow/core/framework/{graph,function,node_def,attr_value}.proto.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelFileError
from .protobuf import Message
from .tensor_bundle import TensorBundle, read_dims

Array = NDArray[np.float64]
_LARGEST_GRAPH = 64 * 2**20
_LARGEST_CONSTANT = 2**24
_MOST_CALLS = 20_000
_CALLS = ("StatefulPartitionedCall", "PartitionedCall")
_SAME = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot")
_CONSTANTS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


@dataclass(frozen=True)
class Node:
    """One operation: `inputs` are names as the graph writes them, without those of mere order."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Message]

    @classmethod
    def read(cls, message: Message) -> Node:
        """From a NodeDef."""
        inputs = tuple(name for name in message.texts(3) if not name.startswith("^"))
        return cls(message.text(1), message.text(2), inputs, message.mapping(5))

    def attribute(self, name: str) -> Message:
        """An attribute; an empty one where it is absent."""
        return self.attributes.get(name, Message())


@dataclass(frozen=True, eq=False)
class Scope:
    """One call of a function: its nodes, and what its arguments are bound to."""

    nodes: dict[str, Node]
    bound: dict[str, Value]


@dataclass(frozen=True, eq=False)
class Input:
    """What the network is given, (batch, …); -1 where a size is not known."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable of the checkpoint."""

    key: str


@dataclass(frozen=True)
class Tensor:
    """Output `index` of a node of a scope."""

    scope: Scope
    node: Node
    index: int = 0


Value = Input | Variable | Tensor


@dataclass
class SavedModel:
    """The graph behind the signature of a SavedModel folder.

    Parameters
    ----------
    folder : Path
        Holds `saved_model.pb` and `variables/`.

    Raises
    ------
    ModelFileError
        No SavedModel, damaged, or without a signature of one input.
    """

    folder: Path
    outputs: dict[str, Value] = field(init=False)
    output_shapes: dict[str, tuple[int, ...]] = field(init=False)
    input: Input = field(init=False)
    _scopes: dict[tuple[Scope, str], Scope] = field(init=False, default_factory=dict)
    _dependent: dict[tuple[Scope, str], bool] = field(init=False, default_factory=dict)
    _numbers: dict[tuple[Scope, str], Array] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        path = self.folder / "saved_model.pb"
        if not path.is_file():
            raise ModelFileError(
                f"{self.folder} is no SavedModel of Keras (it holds no saved_model.pb); "
                "give the folder that has one."
            )
        try:
            if path.stat().st_size > _LARGEST_GRAPH:
                raise ValueError("it is too large")
            graphs = Message(path.read_bytes()).messages(2)
            if not graphs:
                raise ValueError("it holds no graph")
            self._read(graphs[0])
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read ({error.strerror or error}).") from error
        except (ValueError, KeyError, IndexError, RecursionError) as error:
            raise ModelFileError(f"{path} is damaged ({error}); copy it again.") from error

    def _read(self, graph: Message) -> None:
        self._bundle = TensorBundle(self.folder / "variables" / "variables")
        definition, objects = graph.message(2), graph.message(7)
        main = {node.name: node for node in map(Node.read, definition.messages(1))}
        self._functions = {
            message.message(1).text(1): message for message in definition.message(2).messages(1)
        }
        signatures = {name: one for name, one in graph.mapping(5).items() if one.has(1) and one.has(2)}
        signature = signatures.get("serving_default") or next(iter(signatures.values()), None)
        if signature is None:
            raise ModelFileError(
                f"{self.folder} has no signature that says what it gives; save the encoder and the decoder, "
                "each by itself, with Keras' model.save or model.export."
            )
        inputs = list(signature.mapping(1).values())
        if len(inputs) != 1:
            raise ModelFileError(
                f"{self.folder} takes {len(inputs)} inputs; an encoder or a decoder takes one."
            )
        self.input = Input(read_dims(inputs[0].message(3)))
        outputs = signature.mapping(2)
        self.output_shapes = {name: read_dims(one.message(3)) for name, one in outputs.items()}
        name, _, _ = next(iter(outputs.values())).text(1).partition(":")
        function = main[name].attribute("f").message(10).text(1)
        scope = self._call(function, [self.input, *self._captured(function, objects, main)])
        self.outputs = {
            key: self._output(scope, function, int(one.text(1).partition(":")[2] or 0))
            for key, one in outputs.items()
        }

    def _captured(self, function: str, objects: Message, main: dict[str, Node]) -> list[Value]:
        """What a function of the object graph holds besides its arguments: variables and constants."""
        nodes = objects.messages(1)
        keys = self._checkpoint_keys(nodes)
        globals_ = Scope(main, {})
        captured: list[Value] = []
        for number in objects.mapping(2)[function].integers(2):
            if nodes[number].has(9):
                captured.append(Tensor(globals_, main[nodes[number].message(9).text(1)]))
            else:
                captured.append(Variable(keys.get(number, f"of object {number}")))
        return captured

    def _checkpoint_keys(self, nodes: list[Message]) -> dict[int, str]:
        """Keys of the variables by object: graph and checkpoint hold the same tree of names."""
        saved = Message(self._bundle.text("_CHECKPOINTABLE_OBJECT_GRAPH")).messages(1)
        keys: dict[int, str] = {}
        waiting, seen = [(0, 0)], {0}
        while waiting:
            here, there = waiting.pop()
            for attribute in saved[there].messages(2):
                keys[here] = attribute.text(3)
            below = {child.text(2): child.integer(1) for child in saved[there].messages(1)}
            for child in nodes[here].messages(1):
                if child.text(2) in below and child.integer(1) not in seen:
                    seen.add(child.integer(1))
                    waiting.append((child.integer(1), below[child.text(2)]))
        return keys

    def _call(self, function: str, arguments: list[Value]) -> Scope:
        message = self._functions[function]
        names = [argument.text(1) for argument in message.message(1).messages(2)]
        if len(names) != len(arguments):
            raise ValueError(f"{function} takes {len(names)} arguments and gets {len(arguments)}")
        nodes = {node.name: node for node in map(Node.read, message.messages(3))}
        return Scope(nodes, dict(zip(names, arguments, strict=True)))

    def _output(self, scope: Scope, function: str, index: int) -> Value:
        message = self._functions[function]
        name = message.message(1).messages(3)[index].text(1)
        returned = {entry.text(1): entry.text(2) for entry in message.messages(4)}
        return self.follow(scope, returned[name])

    def follow(self, scope: Scope, name: str) -> Value:
        """What `name` stands for in `scope`, through calls and operations that change nothing."""
        for _ in range(_MOST_CALLS):
            name, _, place = name.partition(":")
            if name in scope.bound:
                return scope.bound[name]
            node = scope.nodes[name]
            index = int(place.rpartition(":")[2] or 0)
            if node.op in _CALLS:
                return self._follow_call(scope, node, index)
            if node.op not in _SAME:
                return Tensor(scope, node, index)
            name = node.inputs[index]
        raise ValueError("operations in a circle")

    def _follow_call(self, scope: Scope, node: Node, index: int) -> Value:
        function = node.attribute("f").message(10).text(1)
        key = (scope, node.name)
        if key not in self._scopes:
            if len(self._scopes) == _MOST_CALLS:
                raise ValueError("too many calls")
            self._scopes[key] = self._call(function, [self.follow(scope, one) for one in node.inputs])
        return self._output(self._scopes[key], function, index)

    def inputs(self, tensor: Tensor) -> list[Value]:
        """What an operation is given."""
        return [self.follow(tensor.scope, name) for name in tensor.node.inputs]

    def depends(self, value: Value) -> bool:
        """Whether a value changes with the network's input (not with its mere shape)."""
        if not isinstance(value, Tensor):
            return isinstance(value, Input)
        if value.node.op == "Shape":
            return False
        key = (value.scope, value.node.name)
        if key not in self._dependent:
            self._dependent[key] = False
            self._dependent[key] = any(self.depends(one) for one in self.inputs(value))
        return self._dependent[key]

    def evaluate(self, value: Value) -> Array:
        """The numbers of a value that does not depend on the input."""
        if not isinstance(value, Tensor):
            return self._evaluate(value)
        key = (value.scope, value.node.name)
        if key not in self._numbers:
            self._numbers[key] = self._evaluate(value)
        return self._numbers[key]

    def _evaluate(self, value: Value) -> Array:
        if isinstance(value, Variable):
            return self._bundle.tensor(value.key)
        if not isinstance(value, Tensor):
            raise ValueError("an input where numbers were expected")
        node = value.node
        if node.op == "Const":
            return _constant(node.attribute("value").message(8))
        arrays = [self.evaluate(one) for one in self.inputs(value)]
        if node.op in ("ReadVariableOp", "Cast"):
            return arrays[0]
        if node.op == "Rsqrt":
            return np.asarray(1 / np.sqrt(arrays[0]))
        if node.op == "Squeeze":
            axes = node.attribute("squeeze_dims").message(1).integers(3)
            return arrays[0].squeeze(tuple(axes) or None)
        if node.op == "Reshape":
            return arrays[0].reshape([int(size) for size in arrays[1]])
        if node.op in ("AddV2", "Add", "Sub", "Mul"):
            left, right = arrays
            if math.prod(np.broadcast_shapes(left.shape, right.shape)) > _LARGEST_CONSTANT:
                raise ValueError("a constant is too large")
            return left * right if node.op == "Mul" else left + (-right if node.op == "Sub" else right)
        raise ModelFileError(
            f"{self.folder}: the numbers behind {node.name} come from an operation ({node.op}) "
            "that is not read."
        )


def _constant(message: Message) -> Array:
    """A TensorProto of floats or integers."""
    shape, dtype = read_dims(message.message(2)), _CONSTANTS.get(message.integer(1))
    if dtype is None or min(shape, default=1) < 0 or math.prod(shape) > _LARGEST_CONSTANT:
        raise ValueError("a constant of a kind or size that is not read")
    if message.has(4):
        return np.frombuffer(message.raw(4)[-1], dtype).reshape(shape).astype(np.float64)
    if dtype in ("<i4", "<i8"):
        values = np.array(message.integers(7 if dtype == "<i4" else 10), np.float64)
    else:
        packed = b"".join(bytes(one) for one in message.raw(5 if dtype == "<f4" else 6))
        values = np.frombuffer(packed, dtype).astype(np.float64)
    # TensorFlow leaves away the end of a constant that repeats its last value.
    filled = np.zeros(math.prod(shape))
    filled[: len(values)] = values[: len(filled)]
    if 0 < len(values) < len(filled):
        filled[len(values) :] = values[-1]
    return filled.reshape(shape)
