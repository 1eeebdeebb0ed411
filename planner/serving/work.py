"""What one forward pass asks of each chip: matrix products, attention, experts, messages and streams, op by op."""

from collections.abc import Sequence

import jax.numpy as jnp

from configs.architectures import AttentionFacts, DenseFacts, ExpertsFacts, LatentFacts, LayerFacts, RecurrentFacts
from hw import Scalar

from ..model.decoder import Decoder
from .layout import Layout
from .ops import DecodeAttention, ExpertLayer, Load, Matmul, Message, PrefillAttention, Stream, Work

ACTIVATION_BYTES = 2.0  # activations, residuals and the messages that carry them are bf16
STATE_BYTES = 4.0  # recurrent states are kept in float32 (mamba_ssm, flash-linear-attention)


class Pass:
    """Collects the work of one pass of ``load`` over ``model`` split by ``layout``, for one stage's busiest chip.

    ``dispatch_bytes`` is what one activation weighs on its way to the experts.
    """

    def __init__(self, model: Decoder, layout: Layout, load: Load, dispatch_bytes: Scalar = ACTIVATION_BYTES):
        self.model, self.layout, self.load, self.dispatch_bytes = model, layout, load, dispatch_bytes
        self.sequences = load.decoding / layout.dp
        self.prompts = load.prompts / layout.dp
        self.rows = self.sequences * load.queries + self.prompts * load.prompt_tokens
        self.ops: list[Work] = []

    def work(self) -> list[Work]:
        """Return every operation; counts are those of one stage of the pipeline."""
        for layer in self.model.layers:
            self._layer(layer, layer.count / self.layout.pp)
        if self.load.drafts is not None:
            self._draft(self.load.drafts)
        # One row of logits per sequence: of each decoding token, of the last token of each prompt.
        logits = self.sequences * self.load.queries + self.prompts
        self._matmul(
            "head", "head", 1.0 / self.layout.pp, logits, self.model.vocab / self.layout.tp, self.model.d_model
        )
        width = self.rows * self.model.d_model * ACTIVATION_BYTES
        live, stage = jnp.where(self.layout.pp > 1, 1.0, 0.0), self.layout.stage_chips()
        self.ops.append(Message("pipeline", "send", live, width, self.layout.pp, stride=stage))
        return self.ops

    def _draft(self, drafts: Scalar) -> None:
        """Add ``drafts`` passes of one more layer of the last kind and of the head, one token per sequence each."""
        alone = Load(self.load.decoding, self.load.context_tokens, 0.0, 1.0, 0.0)
        one = Pass(self.model, self.layout, alone, self.dispatch_bytes)
        one._layer(self.model.layers[-1], drafts / self.layout.pp)
        one._matmul(
            "head",
            "head",
            drafts / self.layout.pp,
            one.sequences,
            self.model.vocab / self.layout.tp,
            self.model.d_model,
        )
        self.ops += [op for op in one.ops if not isinstance(op, PrefillAttention)]

    def _matmul(self, name: str, role: str, count: Scalar, rows: Scalar, n: Scalar, k: Scalar) -> None:
        live = jnp.where((rows > 0) & (n > 0), count, 0.0)
        self.ops.append(Matmul(name, role, live, jnp.maximum(rows, 1.0), jnp.maximum(n, 1.0), jnp.maximum(k, 1.0)))

    def _layer(self, layer: LayerFacts, count: Scalar) -> None:
        match layer.mixer:
            case AttentionFacts():
                self._attention(layer.mixer, count)
            case LatentFacts():
                self._latent(layer.mixer, count)
            case RecurrentFacts():
                self._recurrent(layer.mixer, count)
        match layer.feedforward:
            case DenseFacts():
                self._dense(layer.feedforward, count)
            case ExpertsFacts():
                self._experts(layer.feedforward, count)
        halves = (layer.mixer is not None) + (layer.feedforward is not None)
        # Mixer and dense block end in one all-reduce each, over the chips that share them; parallel blocks share one.
        reduces = (layer.mixer is not None) + isinstance(layer.feedforward, DenseFacts)
        if self.model.parallel and reduces == 2:
            reduces = 1
        across = self.layout.width_tp
        if across is not None and isinstance(layer.mixer, AttentionFacts) and isinstance(layer.feedforward, DenseFacts):
            self._planar(layer.mixer, layer.feedforward, count, across)
            shares = self.layout.tp  # the residual stays scattered over all chips
        else:
            self._reduce("all-reduce", reduces * count)
            shares = 1.0
        width = self.rows * self.model.d_model * ACTIVATION_BYTES / shares
        self.ops.append(Stream("norms", 0.5 * halves * count, width))

    def _reduce(self, name: str, count: Scalar) -> None:
        message = self.rows * self.model.d_model * ACTIVATION_BYTES
        live = jnp.where(self.layout.tp > 1, count, 0.0)
        self.ops.append(Message(name, "all_reduce", live, message, jnp.maximum(self.layout.tp, 2.0)))

    def _planar(self, x: AttentionFacts, block: DenseFacts, count: Scalar, across: Scalar) -> None:
        """Add the collectives of the 2-D weight-stationary layout, ``across`` chips sharing the model's width.

        Width is gathered along the other axes before the products and scattered after them; features are summed along
        the first axes and gathered back (Pope et al. 2022, arXiv 2211.05102, figure 2 b). Parallel blocks share calls.
        """
        along = self.layout.tp / across
        axes = jnp.log(jnp.asarray(across, float)) / jnp.log(jnp.asarray(self.layout.tp, float))
        calls = count if self.model.parallel else 2.0 * count
        each = ACTIVATION_BYTES * self.rows * count / calls
        taken = x.heads * x.key_dim + x.kv_heads * (x.key_dim + x.value_dim) + (block.matrices - 1.0) * block.width
        given = x.heads * x.value_dim + block.width
        width = ACTIVATION_BYTES * self.rows * self.model.d_model / across
        within, beside = (along, 1.0 - axes, self.layout.chips()), (across, axes, self.layout.chips())
        self.ops += [
            Message("gather width", "all_gather", calls, width, *within),
            Message("scatter width", "reduce_scatter", calls, width, *within),
            Message("sum features", "reduce_scatter", calls, each * taken / along, *beside),
            Message("gather features", "all_gather", calls, each * given / along, *beside),
        ]

    def _attention(self, x: AttentionFacts, count: Scalar) -> None:
        load, d_model = self.load, self.model.d_model
        heads, kv_heads = x.heads / self.layout.tp, self.layout.held(x.kv_heads)
        # Chips that hold copies of a KV head each project its keys and values; where they share sequences, a part.
        projected = kv_heads if self.layout.shares_batch is None else x.kv_heads / self.layout.tp
        taken = heads * x.key_dim + projected * (x.key_dim + x.value_dim) + x.gate_width / self.layout.tp
        self._matmul("query, key, value", "attention", count, self.rows, taken, d_model)
        spread = self.layout.sharing(x.kv_heads)
        self._attend(
            count, heads * spread, kv_heads, x.key_dim, x.value_dim, load.context_tokens, x.window_tokens, spread=spread
        )
        if self.layout.shares_batch is not None:
            own = self.sequences * load.queries * ACTIVATION_BYTES / self.layout.tp
            queries = own * (x.heads * x.key_dim + x.kv_heads * (x.key_dim + x.value_dim))
            live = jnp.where(spread > 1.0, count, 0.0)
            self.ops += [
                Message("share queries", "alltoall", live, queries, self.layout.tp),
                Message("return values", "alltoall", live, own * x.heads * x.value_dim, self.layout.tp),
            ]
        self._prefill(count, heads, kv_heads, x.key_dim, x.value_dim, x.window_tokens)
        self._matmul("attention out", "attention", count, self.rows, d_model, heads * x.value_dim)

    def _attend(
        self, count, heads, kv_heads, key_dim, value_dim, tokens, window, latent=False, spread: Scalar = 1.0
    ):  # packed queries of one sequence share its keys, as grouped heads do
        live = jnp.where(self.sequences > 0, count, 0.0)
        batch = jnp.maximum(self.sequences / spread, 1.0)
        heads = heads * self.load.queries
        tokens = jnp.maximum(tokens, 1.0)
        self.ops.append(
            DecodeAttention(
                "decode attention", live, batch, heads, kv_heads, key_dim, value_dim, tokens, window, latent
            )
        )

    def _prefill(self, count, heads, kv_heads, key_dim, value_dim, window):
        # Fewer than one prompt per pass and copy is one prompt in some of the passes.
        live = count * jnp.minimum(self.prompts, 1.0)
        query = jnp.maximum(self.load.prompt_tokens, 1.0)
        together = jnp.maximum(self.prompts, 1.0)
        kv = query + self.load.prefix_tokens
        self.ops.append(
            PrefillAttention(
                "prefill attention", live, together, heads, kv_heads, key_dim, value_dim, query, kv, window
            )
        )

    def _latent(self, x: LatentFacts, count: Scalar) -> None:
        load, d_model = self.load, self.model.d_model
        heads = x.heads / self.layout.tp
        query_dim = x.nope_dim + x.rope_dim
        direct = jnp.where(x.query_rank > 0, 0.0, heads * query_dim)  # no low rank: straight from the residual
        taken = x.query_rank + direct + x.latent_dim + x.rope_dim + x.gate_width / self.layout.tp
        indexed = x.index_topk > 0
        keys = jnp.where(indexed, x.index_dim + x.index_heads, 0.0)
        self._matmul("latents", "attention", count, self.rows, taken + keys, d_model)
        raised = jnp.where(x.query_rank > 0, heads * query_dim, 0.0) + x.index_heads * x.index_dim
        source = jnp.where(x.query_rank > 0, x.query_rank, d_model)
        self._matmul("queries", "attention", count, self.rows, raised, source)
        decoded = self.sequences * load.queries
        # Absorbed form: per head nope_dim x latent_dim before attention and latent_dim x value_dim after it, as one.
        self._matmul(
            "absorbed keys, values", "absorbed", count, decoded, heads * (x.nope_dim + x.value_dim), x.latent_dim
        )
        seen = jnp.where(indexed, jnp.minimum(x.index_topk, load.context_tokens), load.context_tokens)
        self._attend(count, heads, 1.0, x.latent_dim + x.rope_dim, x.latent_dim, seen, jnp.inf, latent=True)
        # The indexer scores every cached key with small heads, one read of index_dim per token.
        scored = self.sequences * load.context_tokens * x.index_dim
        self.ops.append(Stream("indexer", jnp.where(indexed, count, 0.0), scored))
        fresh = self.prompts * (load.prompt_tokens + load.prefix_tokens)
        self._matmul(
            "unpacked keys, values", "absorbed", count, fresh, heads * (x.nope_dim + x.value_dim), x.latent_dim
        )
        window = jnp.where(indexed, x.index_topk, jnp.inf)
        self._prefill(count, heads, heads, query_dim, x.value_dim, window)
        self._matmul("attention out", "attention", count, self.rows, d_model, heads * x.value_dim)

    def _recurrent(self, x: RecurrentFacts, count: Scalar) -> None:
        d_model, tp = self.model.d_model, self.layout.tp
        self._matmul("recurrent in", "attention", count, self.rows, x.in_width / tp, d_model)
        # Decoding reads and writes each state once; a prompt's scan makes about four passes over its features.
        state = 2.0 * self.sequences * x.state_elements * STATE_BYTES / tp
        scan = 4.0 * self.prompts * self.load.prompt_tokens * x.in_width * ACTIVATION_BYTES / tp
        self.ops.append(Stream("recurrence", count, state + scan))
        self._matmul("recurrent out", "attention", count, self.rows, d_model, x.out_width / tp)

    def _dense(self, x: DenseFacts, count: Scalar) -> None:
        self._feedforward("feed-forward", "dense", x.width, x.matrices, count)

    def _feedforward(self, name: str, role: str, width: Scalar, matrices: Scalar, count: Scalar) -> None:
        d_model, inner = self.model.d_model, width / self.layout.tp
        self._matmul(f"{name} up", role, count, self.rows, (matrices - 1.0) * inner, d_model)
        live = jnp.where(inner > 0, count, 0.0)
        self.ops.append(Stream("activations", live, matrices * self.rows * inner * ACTIVATION_BYTES))
        self._matmul(f"{name} down", role, live, self.rows, d_model, jnp.maximum(inner, 1.0))

    def _experts(self, x: ExpertsFacts, count: Scalar) -> None:
        layout, load, d_model = self.layout, self.load, self.model.d_model
        hidden = jnp.where(x.latent_dim > 0, x.latent_dim, d_model)
        self._matmul("router", "router", count, self.rows, x.experts, d_model)
        self._matmul("into latent", "dense", count, self.rows, x.latent_dim, d_model)
        tokens = jnp.maximum(load.tokens(), 1.0)
        self.ops.append(ExpertLayer("experts", count, tokens, hidden, x, layout.expert_tp(), layout.ep))
        self._matmul(
            "out of latent", "dense", jnp.where(x.latent_dim > 0, count, 0.0), self.rows, d_model, x.latent_dim
        )
        self._feedforward("shared experts", "dense", x.shared_width, x.matrices, count)
        # One copy: every chip sees all tokens, an all-reduce adds the experts up. Several: tokens travel.
        together = jnp.where(layout.dp > 1, 0.0, count)
        self._reduce("all-reduce", together)
        self.ops += self._travel(x, hidden, jnp.where(layout.dp > 1, count, 0.0))

    def _travel(self, x: ExpertsFacts, hidden: Scalar, count: Scalar) -> Sequence[Message]:
        """Return dispatch to and combination from the experts: both ways, of which the device takes the quicker."""
        devices = jnp.maximum(self.layout.stage_chips(), 2.0)
        everything = self.load.tokens() * hidden
        # Each token goes to the distinct chips among topk draws of ep groups.
        groups = jnp.maximum(self.layout.ep, 2.0)
        reached = groups * (1.0 - (1.0 - 1.0 / groups) ** x.topk)
        own = self.rows * hidden * reached
        return [
            Message("gather tokens", "all_gather", count, everything * self.dispatch_bytes, devices),
            Message("scatter sums", "reduce_scatter", count, everything * ACTIVATION_BYTES, devices),
            Message("dispatch", "alltoall", count, own * self.dispatch_bytes, devices),
            Message("combine", "alltoall", count, own * ACTIVATION_BYTES, devices),
        ]
