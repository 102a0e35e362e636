"""Names of Flower outside its public API that this project uses.

Flower may change them in any release, so no other module imports them from Flower, and an adaptation changes only this
file. A name is imported when another module first imports it: the SuperLink and the SuperNode take seconds to load.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

PRIVATE = {
    "flwr.cli.build": ("build_fab_from_files",),
    "flwr.common.constant": (
        "ErrorCode",
        "ISOLATION_MODE_SUBPROCESS",
        "PARTITION_ID_KEY",
        "SYSTEM_TIME_TOLERANCE",
        "SubStatus",
        "TIMESTAMP_TOLERANCE",
        "TRANSPORT_TYPE_GRPC_RERE",
    ),
    "flwr.common.serde": ("fab_to_proto", "user_config_to_proto"),
    "flwr.proto.control_pb2": (
        "ListNodesRequest",
        "ListRunsRequest",
        "RegisterNodeRequest",
        "StartRunRequest",
        "StopRunRequest",
        "UnregisterNodeRequest",
    ),
    "flwr.proto.fleet_pb2": ("ActivateNodeRequest", "PushMessagesRequest"),
    "flwr.proto.message_pb2": ("Message",),
    "flwr.proto.node_pb2": ("NodeInfo",),
    "flwr.proto.runtime_pb2": ("AcquireTaskRequest", "PushAppMessagesRequest"),
    "flwr.server.superlink.fleet.vce.backend": ("Backend", "BackendConfig"),
    "flwr.server.superlink.fleet.vce.backend.raybackend": ("RayBackend",),
    "flwr.server.superlink.linkstate": ("LinkState",),
    "flwr.supercore.app_utils": ("start_parent_process_monitor",),
    "flwr.supercore.auth": ("load_superexec_auth_secret",),
    "flwr.supercore.constant": ("TaskType",),
    "flwr.supercore.control": ("ControlHttpClient",),
    "flwr.supercore.error": ("ApiErrorCode", "FlowerError"),
    "flwr.supercore.fab": ("Fab",),
    "flwr.supercore.heartbeat": ("HeartbeatSender", "make_task_heartbeat_fn_http"),
    "flwr.supercore.interceptors": (
        "RuntimeTokenHttpInterceptor",
        "RuntimeVersionHttpInterceptor",
        "SuperExecAuthHttpInterceptor",
    ),
    "flwr.supercore.primitives.asymmetric": ("public_key_to_bytes", "sign_message", "verify_signature"),
    "flwr.supercore.protobuf.client": ("ProtobufClientInterceptor", "ProtobufRequestContext"),
    "flwr.supercore.protobuf.constants": ("PROTOBUF_MEDIA_TYPE",),
    "flwr.supercore.runtime": ("RuntimeHttpClient",),
    "flwr.supercore.task_identity": ("TaskIdentity",),
    "flwr.superlink.auth_plugin": ("NoOpControlAuthnPlugin",),
    "flwr.superlink.cli.flower_superlink": ("SuperLinkLifespan",),
    "flwr.superlink.config_loader": ("SuperLinkLifespanConfig",),
    "flwr.superlink.main": ("create_app",),
    "flwr.supernode.cli": ("flower_supernode",),
    "flwr.supernode.node_auth_http_interceptor": ("NodeAuthHttpInterceptor",),
    "flwr.supernode.runtime.run_clientapp": ("pull_task_input", "push_message", "push_task_output"),
}
"""Names by their module in Flower."""

if TYPE_CHECKING:
    from flwr.cli.build import build_fab_from_files
    from flwr.common.constant import (
        ISOLATION_MODE_SUBPROCESS,
        PARTITION_ID_KEY,
        SYSTEM_TIME_TOLERANCE,
        TIMESTAMP_TOLERANCE,
        TRANSPORT_TYPE_GRPC_RERE,
        ErrorCode,
        SubStatus,
    )
    from flwr.common.serde import fab_to_proto, user_config_to_proto
    from flwr.proto.control_pb2 import (
        ListNodesRequest,
        ListRunsRequest,
        RegisterNodeRequest,
        StartRunRequest,
        StopRunRequest,
        UnregisterNodeRequest,
    )
    from flwr.proto.fleet_pb2 import ActivateNodeRequest, PushMessagesRequest
    from flwr.proto.message_pb2 import Message
    from flwr.proto.node_pb2 import NodeInfo
    from flwr.proto.runtime_pb2 import AcquireTaskRequest, PushAppMessagesRequest
    from flwr.server.superlink.fleet.vce.backend import Backend, BackendConfig
    from flwr.server.superlink.fleet.vce.backend.raybackend import RayBackend
    from flwr.server.superlink.linkstate import LinkState
    from flwr.supercore.app_utils import start_parent_process_monitor
    from flwr.supercore.auth import load_superexec_auth_secret
    from flwr.supercore.constant import TaskType
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.error import ApiErrorCode, FlowerError
    from flwr.supercore.fab import Fab
    from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
    from flwr.supercore.interceptors import (
        RuntimeTokenHttpInterceptor,
        RuntimeVersionHttpInterceptor,
        SuperExecAuthHttpInterceptor,
    )
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message, verify_signature
    from flwr.supercore.protobuf.client import ProtobufClientInterceptor, ProtobufRequestContext
    from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig
    from flwr.superlink.main import create_app
    from flwr.supernode.cli import flower_supernode
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
    from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
else:
    MODULES = {name: module for module, names in PRIVATE.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in MODULES:
            raise AttributeError(f"{__name__} has no {name}")
        return getattr(import_module(MODULES[name]), name)
