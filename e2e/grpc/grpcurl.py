"""What grpcurl does with a server that describes itself, as far as docs/examples/grpcurl.md asks it to.

Debian 12 has no grpcurl; this asks for the same by the same calls (reflection, then the call itself), with grpcio.
"""

import argparse
import ssl
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def described(pool, name):
    service = pool.FindServiceByName(name)
    print(f"{name} is a service:\nservice {service.name} {{")
    for method in service.methods:
        sent, told = (("stream " if streams else "") for streams in (method.client_streaming, method.server_streaming))
        print(f"  rpc {method.name} ( {sent}.{method.input_type.full_name} ) returns ( {told}.{method.output_type.full_name} );")
    print("}")


def said(data, kind):
    """Messages as JSON objects, one a line where they come from standard input."""
    for line in sys.stdin if data == "@" else [data]:
        if line.strip():
            yield json_format.Parse(line, kind())


def called(channel, pool, name, data, metadata):
    service, method = name.rsplit("/", 1)
    method = pool.FindServiceByName(service).FindMethodByName(method)
    kinds = [message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type)]
    path = f"/{name}"
    how = {"request_serializer": kinds[0].SerializeToString, "response_deserializer": kinds[1].FromString}
    if method.client_streaming:
        answers = channel.stream_stream(path, **how)(said(data, kinds[0]), metadata=metadata)
    else:
        answers = [channel.unary_unary(path, **how)(next(said(data, kinds[0])), metadata=metadata)]
    for answer in answers:
        print(json_format.MessageToJson(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(prog="grpcurl")
    parser.add_argument("-insecure", action="store_true", required=True)
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", default="")
    parser.add_argument("address")
    parser.add_argument("what")
    parser.add_argument("name", nargs="?")
    args = parser.parse_args()
    host, port = args.address.rsplit(":", 1)
    credentials = grpc.ssl_channel_credentials(ssl.get_server_certificate((host, int(port))).encode())
    metadata = [tuple(part.strip() for part in header.split(":", 1)) for header in args.H]
    with grpc.secure_channel(args.address, credentials, [("grpc.ssl_target_name_override", "localhost")]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        try:
            if args.what == "list":
                print("\n".join(sorted(database.get_services())))
            elif args.what == "describe":
                described(pool, args.name)
            else:
                called(channel, pool, args.what, args.d, metadata)
        except grpc.RpcError as error:
            sys.exit(f"ERROR:\n  Code: {error.code().name}\n  Message: {error.details()}")


main()
