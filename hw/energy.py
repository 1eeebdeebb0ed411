"""Joules: what arithmetic, movement of bytes and the passing of time take from a board."""

from collections.abc import Mapping

import equinox as eqx

from .chip import Scalar


class Joules(eqx.Module):
    """Energy by cause; `total` adds the parts up.

    ``arithmetic`` is the multiplications and additions alone, ``overhead`` what else a FLOP draws
    (operand delivery, registers, control, clocks). ``hbm`` is the memory's and its interface's, ``hbm_overhead`` what
    else a byte draws on its way from there into the units. ``static`` is what passing time takes.
    """

    arithmetic: Scalar
    overhead: Scalar
    hbm: Scalar
    hbm_overhead: Scalar
    sram: Scalar
    link: Scalar
    scale_out: Scalar
    static: Scalar

    @property
    def total(self) -> Scalar:
        """The sum of the parts."""
        return self.dynamic + self.static

    @property
    def dynamic(self) -> Scalar:
        """The part that work takes however long it lasts."""
        return self.on_board + self.link + self.scale_out

    @property
    def on_board(self) -> Scalar:
        """The dynamic part that board power pays for; half of ``link`` is left out, 3 % of an H100's 700 W at most."""
        return self.arithmetic + self.overhead + self.hbm + self.hbm_overhead + self.sram


class Energy(eqx.Module):
    """Energy constants of a silicon generation.

    E = sum_p F_p (e_p + o_p) + B_hbm (e_hbm + o_hbm) + B_sram e_sram + B_link e_link + B_out e_out + t P (idle + busy),
    with F_p FLOPs in precision p, B bytes, t seconds at work and P board power in watts. A byte from HBM
    passes the last-level cache too, so ``sram_bytes`` includes ``hbm_bytes``.

    ``joules_per_flop`` (e) is the circuit: half a multiply-add, from Horowitz (2014, ISSCC) and Jouppi et
    al. (2021, ISCA). That is 8 to 26 % of a GPU's board power in a large matrix product, 14 to 46 % with its
    HBM and cache traffic (TPU v4: 32 and 41 %). So ``overhead_joules_per_flop`` (o) is derived such that one
    reference chip per set draws its board power at the share of its peak that it reaches. Other chips follow:
    RTX PRO 6000 from the L40S is predicted power-bound at 0.89 of its bf16 peak (timed 0.87) and 0.72 of its
    fp8 peak (0.71). Off: its fp4 limit is 16 % too low, the L40S's fp8 limit 50 % too high, where kernels bind
    and not power. Cards with many units for their power (L4, H100 PCIe, MI300X) exceed it on paper at 0.75 of
    the peak: they slow down instead, see `least_seconds`.

    ``joules_per_hbm_byte`` is the circuit likewise, and explains a third of what decoding draws beyond time and FLOPs:
    ``overhead_joules_per_hbm_byte``, 1.85 times HBM and cache together, is derived from 33 served loads of nine
    models on H100 and B200 (ML.ENERGY benchmark 3.0), whose mean power then comes out within 4.6 % (median; 13 % at
    the 90th percentile). Either chip alone gives the same ratio. Where power was not measured so (TPUs, Trainium,
    Gaudi, Ascend, Apple) none is counted: there decoding may draw up to twice what is said.

    Data movement against arithmetic. The claim that moving an operand from SRAM costs up to 1000 times its
    multiplication holds at the far end only, at 7 nm, against an int8 multiplication of 0.07 pJ:

    - an 8-byte word from an 8 KB SRAM 7.5 pJ, 110 times; from a 1 MB bank 14 pJ, 200 times;
    - the same word from a last-level cache 10 mm away 66 pJ, 940 times: this is the claim;
    - one byte, the operand itself, from that cache 8.2 pJ, 120 times; from HBM 44 pJ, 630 times.

    Against an FP4 multiplication, four times cheaper, a byte from HBM is 2500 times. As a product is really
    tiled (128 x 256), 0.012 bytes leave the cache per bf16 FLOP: a third of the circuit's arithmetic on an
    A100, a tenth of what its FLOP draws in all.
    """

    joules_per_flop: dict[str, Scalar]
    overhead_joules_per_flop: dict[str, Scalar]
    joules_per_hbm_byte: Scalar
    overhead_joules_per_hbm_byte: Scalar
    joules_per_sram_byte: Scalar
    joules_per_link_byte: Scalar
    joules_per_scale_out_byte: Scalar
    idle_fraction: Scalar
    busy_fraction: Scalar

    def joules(
        self,
        flops: Mapping[str, Scalar],
        hbm_bytes: Scalar,
        sram_bytes: Scalar,
        link_bytes: Scalar,
        seconds: Scalar,
        power_w: Scalar,
        scale_out_bytes: Scalar = 0.0,
    ) -> Joules:
        """Return the energy of ``seconds`` at work on a board of ``power_w``; ``flops`` goes by precision."""
        return Joules(
            arithmetic=sum((f * self.joules_per_flop[p] for p, f in flops.items()), 0.0),
            overhead=sum((f * self.overhead_joules_per_flop[p] for p, f in flops.items()), 0.0),
            hbm=hbm_bytes * self.joules_per_hbm_byte,
            hbm_overhead=hbm_bytes * self.overhead_joules_per_hbm_byte,
            sram=sram_bytes * self.joules_per_sram_byte,
            link=link_bytes * self.joules_per_link_byte,
            scale_out=scale_out_bytes * self.joules_per_scale_out_byte,
            static=seconds * power_w * (self.idle_fraction + self.busy_fraction),
        )

    def idle_joules(self, seconds: Scalar, power_w: Scalar) -> Scalar:
        """Return the energy of ``seconds`` without work, model loaded."""
        return seconds * power_w * self.idle_fraction

    def least_seconds(self, work: Joules, power_w: Scalar) -> Scalar:
        """Return how long ``work`` must last for the board to stay within ``power_w``."""
        return work.on_board / (power_w * (1.0 - self.idle_fraction - self.busy_fraction))
