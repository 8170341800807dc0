"""Reads an event file as TensorBoard does, and prints its events as JSON, one a line.

Independent of src/runs/tensorboard.ts: Google's protobuf decodes the messages, with the fields that TensorBoard
publishes (tensorboard/compat/proto/event.proto and summary.proto), and the checksums are computed bit by bit.

    /usr/bin/python3 test/tensorboard.py FILE      needs Debian's python3-protobuf
"""
import json
import struct
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict

Field = descriptor_pb2.FieldDescriptorProto


def schema():
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="tensorboard", syntax="proto3")

    def message(parent, name, *fields):
        found = parent.add(name=name)
        for number, field, kind, *rest in fields:
            entry = found.field.add(name=field, number=number, label=Field.LABEL_OPTIONAL)
            if isinstance(kind, str):
                entry.type = Field.TYPE_ENUM if "Status" in kind else Field.TYPE_MESSAGE
                entry.type_name = f".tensorboard.{kind}"
            else:
                entry.type = kind
            if "repeated" in rest:
                entry.label = Field.LABEL_REPEATED
            if "oneof" in rest:
                if not found.oneof_decl:
                    found.oneof_decl.add(name="value" if name == "Value" else "what")
                entry.oneof_index = 0
        return found

    message(
        file.message_type, "Event",
        (1, "wall_time", Field.TYPE_DOUBLE),
        (2, "step", Field.TYPE_INT64),
        (3, "file_version", Field.TYPE_STRING, "oneof"),
        (4, "graph_def", Field.TYPE_BYTES, "oneof"),
        (5, "summary", "Summary", "oneof"),
        (7, "session_log", "SessionLog", "oneof"),
        (9, "meta_graph_def", Field.TYPE_BYTES, "oneof"),
    )
    session = message(
        file.message_type, "SessionLog",
        (1, "status", "SessionLog.SessionStatus"),
        (2, "checkpoint_path", Field.TYPE_STRING),
        (3, "msg", Field.TYPE_STRING),
    )
    status = session.enum_type.add(name="SessionStatus")
    for number, name in enumerate(("STATUS_UNSPECIFIED", "START", "STOP", "CHECKPOINT")):
        status.value.add(name=name, number=number)
    summary = message(file.message_type, "Summary", (1, "value", "Summary.Value", "repeated"))
    message(
        summary.nested_type, "Image",
        (1, "height", Field.TYPE_INT32),
        (2, "width", Field.TYPE_INT32),
        (3, "colorspace", Field.TYPE_INT32),
        (4, "encoded_image_string", Field.TYPE_BYTES),
    )
    message(
        summary.nested_type, "Value",
        (7, "node_name", Field.TYPE_STRING),
        (1, "tag", Field.TYPE_STRING),
        (2, "simple_value", Field.TYPE_FLOAT, "oneof"),
        (3, "obsolete_old_style_histogram", Field.TYPE_BYTES, "oneof"),
        (4, "image", "Summary.Image", "oneof"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("tensorboard.Event")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        (length, check) = struct.unpack_from("<QI", data, at)
        assert check == masked_crc(data[at : at + 8]), f"checksum of the length at byte {at}"
        body = data[at + 12 : at + 12 + length]
        (check,) = struct.unpack_from("<I", data, at + 12 + length)
        assert check == masked_crc(body), f"checksum of the record at byte {at}"
        yield body
        at += 16 + length


def main():
    # The check value of CRC-32C, from RFC 3720: the routine itself is right.
    assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    event_class = schema()
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    for body in records(data):
        event = event_class.FromString(body)
        event.DiscardUnknownFields()
        assert event.ByteSize() == len(body), "fields that the schema does not know"
        out = MessageToDict(event, preserving_proto_field_name=True)
        print(json.dumps(out))


main()
