"""How an object is declared, and how values that a device sent are seen through the declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Flag
from types import MappingProxyType
from typing import ClassVar, Generic, Self, TypeVar, overload

from fita.lwm2m.path import Path
from fita.lwm2m.value import DataType, Value

T = TypeVar("T", bound=Value)


class Access(Flag):
    """The operations that a resource supports (LwM2M Core 1.1 section 6.3)."""

    R = 1
    W = 2
    E = 4
    RW = R | W


class ResourceBase:
    """The declaration of one resource. `data_type` is None for one that is only executed."""

    multiple: ClassVar[bool] = False

    def __init__(
        self, resource_id: int, name: str, data_type: DataType[Value] | None, access: Access = Access.R
    ) -> None:
        self.id = resource_id
        self.name = name
        self.data_type = data_type
        self.access = access

    def path(self, object_id: int, instance_id: int) -> Path:
        """The resource's path in an instance."""
        return Path(object_id, instance_id, self.id)


class Resource(ResourceBase, Generic[T]):
    """A resource with one value. On an instance the attribute is the value, None if absent or of another type."""

    def __init__(self, resource_id: int, name: str, data_type: DataType[T], access: Access = Access.R) -> None:
        super().__init__(resource_id, name, data_type, access)
        self._type = data_type

    @overload
    def __get__(self, instance: None, owner: type[ObjectInstance]) -> Self: ...
    @overload
    def __get__(self, instance: ObjectInstance, owner: type[ObjectInstance]) -> T | None: ...
    def __get__(self, instance: ObjectInstance | None, owner: type[ObjectInstance]) -> Self | T | None:
        if instance is None:
            return self
        value = instance.values.get((self.id, None))
        return None if value is None else _coerced(self._type, value)


class MultipleResource(ResourceBase, Generic[T]):
    """A resource with several values. On an instance the attribute is a mapping by resource instance id."""

    multiple = True

    def __init__(self, resource_id: int, name: str, data_type: DataType[T], access: Access = Access.R) -> None:
        super().__init__(resource_id, name, data_type, access)
        self._type = data_type

    @overload
    def __get__(self, instance: None, owner: type[ObjectInstance]) -> Self: ...
    @overload
    def __get__(self, instance: ObjectInstance, owner: type[ObjectInstance]) -> Mapping[int, T]: ...
    def __get__(self, instance: ObjectInstance | None, owner: type[ObjectInstance]) -> Self | Mapping[int, T]:
        if instance is None:
            return self
        found: dict[int, T] = {}
        for (resource, index), value in instance.values.items():
            # A client that has one value only may send it without an index.
            if resource == self.id and (item := _coerced(self._type, value)) is not None:
                found[index or 0] = item
        return found


class Executable(ResourceBase):
    """A resource that is only executed. On an instance the attribute is the declaration too."""

    def __init__(self, resource_id: int, name: str) -> None:
        super().__init__(resource_id, name, None, Access.E)


def _coerced(data_type: DataType[T], value: Value) -> T | None:
    try:
        return data_type.coerce(value)
    except ValueError:
        return None


class ObjectInstance:
    """One instance as a device sent it; subclasses declare an object's resources as class attributes.

    A resource that is absent, or whose value does not fit its declared type, is None: devices are seen in the
    field that get single resources wrong, and the rest of what they say is still true.
    """

    object_id: ClassVar[int]
    object_name: ClassVar[str]
    resources: ClassVar[Mapping[int, ResourceBase]] = MappingProxyType({})

    def __init_subclass__(cls, *, object_id: int = 0, name: str = "") -> None:
        cls.object_id = object_id
        cls.object_name = name
        own = {item.id: item for item in vars(cls).values() if isinstance(item, ResourceBase)}
        cls.resources = MappingProxyType({**cls.resources, **own})

    def __init__(self, instance_id: int, values: Mapping[tuple[int, int | None], Value]) -> None:
        self.instance_id = instance_id
        self.values = values

    @classmethod
    def all_from(cls, values: Mapping[Path, Value], object_id: int | None = None) -> dict[int, Self]:
        """Every instance of this object among `values`, by id. `object_id` is for a class that serves several."""
        wanted = cls.object_id if object_id is None else object_id
        grouped: dict[int, dict[tuple[int, int | None], Value]] = {}
        for path, value in values.items():
            if path.object_id == wanted and path.instance_id is not None and path.resource_id is not None:
                key = (path.resource_id, path.resource_instance_id)
                grouped.setdefault(path.instance_id, {})[key] = value
        return {instance: cls(instance, found) for instance, found in grouped.items()}

    @classmethod
    def first_from(cls, values: Mapping[Path, Value]) -> Self:
        """The instance with the lowest id among `values`; one without any resource if there is none."""
        found = cls.all_from(values)
        return found[min(found)] if found else cls(0, {})

    @classmethod
    def declarations(cls) -> Iterator[ResourceBase]:
        """The resources in order of their ids."""
        for _, resource in sorted(cls.resources.items()):
            yield resource
