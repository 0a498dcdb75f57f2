//! Squares by AMX: eight registers of sixteen rows of 64 bytes, two of which one instruction multiplies and adds
//! to a third. Four sums are kept, of two tiles of tokens with two panels. Taking floats apart is AVX-512's. Unsafe
//! for loads, stores and the assembly, since the instructions have no functions yet; only [`detect`] hands the
//! loops out, where the processor and the system have them.

use std::arch::{
    asm,
    x86_64::{
        __cpuid_count, __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512,
        _mm512_castsi512_ps, _mm512_cmpeq_epi32_mask, _mm512_loadu_si512, _mm512_mask_mov_epi32,
        _mm512_maskz_loadu_ps, _mm512_maskz_sub_ps, _mm512_permutex2var_epi16, _mm512_set1_epi32,
        _mm512_storeu_ps,
    },
};

use half::bf16;

use super::{
    Primitives, attention_squares,
    panels::PANEL,
    squares::{COLUMNS, Products, Square, Squares, Two},
    unsafe_avx512_softmax::weigh,
};

/// Puts these loops in, where they can run.
pub(super) fn detect(others: Primitives) -> Primitives {
    let has_wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16");
    // So that what AVX-512 does can be measured where there is more.
    if !has_wide || std::env::var_os("WARMCELL_NO_AMX").is_some() || !has_squares() {
        return others;
    }
    Primitives {
        squares: Some(&SQUARES),
        ..others
    }
}

/// The squares, for [`detect`] alone to hand out.
static SQUARES: Squares = Squares {
    // SAFETY (all): `detect` has found the instructions that the functions are compiled for or made of, and the
    // system has let this process use their registers; they have no other condition.
    take_apart: |rows, columns, out| unsafe { take_apart(rows, columns, out) },
    enter: || unsafe { enter() },
    leave: || unsafe { leave() },
    multiply: |tokens, weights, out| unsafe { multiply::<false>(tokens, weights, out) },
    add_products: |tokens, weights, out| unsafe { multiply::<true>(tokens, weights, out) },
    weigh: |scores, scale, tile, out| unsafe { weigh(scores, scale, tile, out) },
    lay_out_values: |rows, dim, out| unsafe { lay_out_values(rows, dim, out) },
};

/// Asks the system for the registers of squares, which it gives to whoever asks.
fn has_squares() -> bool {
    /// For bits of the features that a process may use, and the bit of these registers.
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_int = 18;
    /// Of the processor's features: squares of brain floats, and squares.
    const FEATURES: u32 = 1 << 22 | 1 << 24;
    if __cpuid_count(7, 0).edx & FEATURES != FEATURES {
        return false;
    }
    // SAFETY: the call has no effect but the permission.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    answer == 0
}

/// What the registers are: of the first kind, each sixteen rows of 64 bytes.
#[repr(C, align(64))]
struct Shapes {
    kind: u8,
    start: u8,
    none: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = Shapes {
    kind: 1,
    start: 0,
    none: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Gives the registers their shapes. The processor must have squares, and the process their registers.
unsafe fn enter() {
    // SAFETY: 64 bytes are read, as many as there are.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            shapes = in(reg) &raw const SHAPES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
}

/// Takes the shapes away, so that the system has nothing more of them to keep for this thread. As [`enter`].
unsafe fn leave() {
    // SAFETY: nobody else has anything in these registers.
    unsafe {
        asm!(
            "tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, nomem),
        );
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn lay_out_values(rows: &[bf16], dim: usize, out: &mut [Square]) {
    attention_squares::lay_out_values(rows, dim, out);
}

/// Adds to what is there where that is to stay. As [`enter`], and where that was called: registers without shapes
/// end the process.
unsafe fn multiply<const STAYS: bool>(tokens: Two, weights: Two, out: &mut Products) {
    let blocks = weights[0].len();
    let parts = tokens[0].len().checked_div(blocks).unwrap_or(0);
    assert!(
        parts > 0
            && weights[1].len() >= blocks
            && tokens.iter().all(|tile| tile.len() >= blocks * parts),
        "two tiles have the same parts of as many squares as two panels have"
    );
    // SAFETY: `blocks` squares of 1,024 bytes are read of each panel and `blocks * parts` of each tile, which have
    // been found to be there, and four are read and written, as many as `out` has: no register has a shape beyond
    // that, as only `enter` gives them shapes.
    unsafe {
        asm!(
            ".if {stays}",
            "tileloadd tmm0, [{out} + {stride}]",
            "tileloadd tmm1, [{out} + {stride} + 1024]",
            "tileloadd tmm2, [{out} + {stride} + 2048]",
            "tileloadd tmm3, [{out} + {stride} + 3072]",
            ".else",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            ".endif",
            "2:",
            "tileloadd tmm6, [{weights_0} + {stride}]",
            "tileloadd tmm7, [{weights_1} + {stride}]",
            "add {weights_0}, 1024",
            "add {weights_1}, 1024",
            "mov {left}, {parts}",
            "3:",
            "tileloaddt1 tmm4, [{tokens_0} + {stride}]",
            "tileloaddt1 tmm5, [{tokens_1} + {stride}]",
            "add {tokens_0}, 1024",
            "add {tokens_1}, 1024",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {left}",
            "jnz 3b",
            "dec {blocks}",
            "jnz 2b",
            "tilestored [{out} + {stride}], tmm0",
            "tilestored [{out} + {stride} + 1024], tmm1",
            "tilestored [{out} + {stride} + 2048], tmm2",
            "tilestored [{out} + {stride} + 3072], tmm3",
            blocks = inout(reg) blocks => _,
            parts = in(reg) parts,
            tokens_0 = inout(reg) tokens[0].as_ptr() => _,
            tokens_1 = inout(reg) tokens[1].as_ptr() => _,
            weights_0 = inout(reg) weights[0].as_ptr() => _,
            weights_1 = inout(reg) weights[1].as_ptr() => _,
            out = in(reg) out.as_mut_ptr(),
            stride = in(reg) size_of::<[f32; PANEL]>(),
            left = out(reg) _,
            stays = const STAYS as u8,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn take_apart(rows: &[f32], columns: usize, out: &mut [Square]) {
    let blocks = columns.div_ceil(COLUMNS);
    let parts = out.len() / blocks;
    for square in &mut *out {
        square[rows.len() / columns * PANEL..].fill(0.0);
    }
    for (lane, row) in rows.chunks_exact(columns).enumerate() {
        let blocks = row.chunks(COLUMNS).zip(out.chunks_exact_mut(parts));
        for (values, squares) in blocks {
            let (low, high) = values.split_at(values.len().min(PANEL));
            let mut rests = [load(low), load(high)];
            for square in squares {
                let [low, high] = rests.each_mut().map(|rest| next_part(rest));
                store(upper_halves(low, high), &mut square[lane * PANEL..]);
            }
        }
    }
}

/// The nearest brain floats, as f32, and what is left of the values then. No number, and what is past the largest,
/// is cut off instead, so that the one stays what it is.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn next_part(rest: &mut __m512) -> __m512i {
    let exponent = _mm512_set1_epi32(0x7f80_0000);
    let is_past = |bits| _mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent);
    let bits = _mm512_castps_si512(*rest);
    let near = _mm512_add_epi32(bits, _mm512_set1_epi32(0x8000));
    let near = _mm512_mask_mov_epi32(near, is_past(near), bits);
    let part = _mm512_and_si512(near, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
    *rest = _mm512_maskz_sub_ps(!is_past(part), *rest, _mm512_castsi512_ps(part));
    part
}

/// The upper halves of thirty-two values, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn upper_halves(low: __m512i, high: __m512i) -> __m512i {
    /// The odd ones of sixty-four halves.
    static ODD: [u16; 32] = {
        let mut odd = [0; 32];
        let mut at = 0;
        while at < 32 {
            odd[at] = 2 * at as u16 + 1;
            at += 1;
        }
        odd
    };
    // SAFETY: 64 bytes are there, and the load has no alignment to keep.
    let odd = unsafe { _mm512_loadu_si512(ODD.as_ptr().cast()) };
    _mm512_permutex2var_epi16(low, odd, high)
}

/// Up to sixteen values, and zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32]) -> __m512 {
    let mask = u16::MAX.unbounded_shr((PANEL - values.len()) as u32);
    // SAFETY: the mask lets no more than the values be read.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bits: __m512i, out: &mut [f32]) {
    let out = &mut out[..PANEL];
    // SAFETY: there is room for sixteen values, and the store has no alignment to keep.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_castsi512_ps(bits)) };
}
