"""Flower's ClientApp as in its quickstart, in its own module for Ray's actors to import."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from benchmarks.jobs.loops import LOOPS, Loop
from benchmarks.jobs.task import sites


def client_app(name: str) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        loop, number = LOOPS[name], int(context.node_config["partition-id"])
        net = received(message, loop)
        loss = loop.train(net, number, int(str(message.content.config_records["config"]["server-round"])))
        metrics = MetricRecord({"train_loss": loss, "num-examples": len(sites()[number].shard.train)})
        return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        loop, number = LOOPS[name], int(context.node_config["partition-id"])
        accuracy = loop.test(received(message, loop), number)
        metrics = MetricRecord({"eval_acc": accuracy, "num-examples": len(sites()[number].shard.validation)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def received(message: Message, loop: Loop) -> nn.Module:
    net = loop.network()
    net.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    return net
