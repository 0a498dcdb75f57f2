//! Products of rows of 4-bit codes of a book with a vector, by AVX-512: all sixteen values of a book lie in
//! one register, so that one permutation looks sixteen codes up. Codes stay where they lie, eight to a
//! lane, and the vector is spread to match ([`super::nibbles::spread`]): a shift brings the next sixteen.
//! Only [`detect`] hands it out.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_and_si512,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_mov_ps, _mm512_maskz_loadu_epi32, _mm512_maskz_set1_epi32,
    _mm512_mul_ps, _mm512_or_si512, _mm512_permutex2var_ps, _mm512_permutexvar_ps,
    _mm512_reduce_add_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_srli_epi32,
};

use wire::model::DType;

use super::{
    Book, Primitives,
    nibbles::{PART, SPREAD},
    panels::{Lanes, PANEL},
    rows::Input,
    unsafe_avx512_rows::AHEAD,
};

/// Rows at a time, so that their sums do not wait for each other.
const ROWS: usize = 4;
/// The lanes of a register's second part of 64 codes.
const UPPER: u16 = 0xff00;

/// Puts this loop in place of another, where the processor can run it.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    Primitives {
        spreads: true,
        // SAFETY: `detect` has just found the instructions that the function is compiled for; it has no
        // other condition.
        nibbles_dots: |book, packed, scales, input, out| unsafe {
            dots(book, packed, scales, input, out);
        },
        ..others
    }
}

#[target_feature(enable = "avx512f")]
fn dots(book: &Book, packed: &[u8], scales: &[f32], input: &Input, out: &mut [f32]) {
    let (columns, parts) = (input.values.len(), input.values.len() / PART);
    let (fours, rest) = out.as_chunks_mut::<ROWS>();
    let mut row = 0;
    for out in fours {
        let rows = std::array::from_fn(|at| Row {
            packed: &packed[(row + at) * columns / 2..][..columns / 2],
            scales: &scales[(row + at) * parts..][..parts],
        });
        *out = of_rows(book, rows, &input.spread);
        row += ROWS;
    }
    for out in rest {
        let rows = [Row {
            packed: &packed[row * columns / 2..][..columns / 2],
            scales: &scales[row * parts..][..parts],
        }];
        [*out] = of_rows(book, rows, &input.spread);
        row += 1;
    }
}

/// A row in parts of 64 codes.
#[derive(Clone, Copy)]
struct Row<'a> {
    packed: &'a [u8],
    /// One a part.
    scales: &'a [f32],
}

impl Row<'_> {
    /// 128 codes, eight a lane; what is past the row's end is zero.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn codes(self, step: usize) -> __m512i {
        let bytes = &self.packed[step * SPREAD / 2..];
        let mask = if bytes.len() >= SPREAD / 2 {
            u16::MAX
        } else {
            assert!(bytes.len() >= PART / 2, "a part has 32 bytes");
            !UPPER
        };
        // SAFETY: the mask lets no more than the row's bytes be read; the other is a hint, which faults
        // nowhere.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(AHEAD).cast());
            _mm512_maskz_loadu_epi32(mask, bytes.as_ptr().cast())
        }
    }

    /// The scales of these codes.
    fn two(self, step: usize) -> [f32; 2] {
        let at = step * SPREAD / PART;
        [
            self.scales[at],
            self.scales.get(at + 1).copied().unwrap_or(0.0),
        ]
    }
}

/// A row's product is the same whichever rows are beside it.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_rows<const COUNT: usize>(book: &Book, rows: [Row; COUNT], spread: &[f32]) -> [f32; COUNT] {
    let (steps, _) = spread.as_chunks::<SPREAD>();
    let mut totals = [_mm512_setzero_ps(); COUNT];
    for (step, inputs) in steps.iter().enumerate() {
        let (inputs, _) = inputs.as_chunks::<PANEL>();
        if book.rounding == DType::F32 {
            scaled_after(book, rows, (step, inputs), &mut totals);
        } else {
            scaled_before(book, rows, (step, inputs), &mut totals);
        }
    }
    totals.map(|total| _mm512_reduce_add_ps(total))
}

/// Looks codes up and scales what their products add up to.
#[inline]
#[target_feature(enable = "avx512f")]
fn scaled_after<const COUNT: usize>(
    book: &Book,
    rows: [Row; COUNT],
    (step, inputs): (usize, &[Lanes]),
    totals: &mut [__m512; COUNT],
) {
    let table = load(&book.values);
    let mut codes = rows.map(|row| row.codes(step));
    let mut sums = [_mm512_setzero_ps(); COUNT];
    for input in inputs {
        let input = load(input);
        for (sum, codes) in sums.iter_mut().zip(&mut codes) {
            // A permutation looks at the lowest four bits of each index alone.
            *sum = _mm512_fmadd_ps(_mm512_permutexvar_ps(*codes, table), input, *sum);
            *codes = _mm512_srli_epi32::<4>(*codes);
        }
    }
    for ((total, sum), row) in totals.iter_mut().zip(sums).zip(rows) {
        let [low, high] = row.two(step);
        let scales = _mm512_mask_mov_ps(_mm512_set1_ps(low), UPPER, _mm512_set1_ps(high));
        *total = _mm512_fmadd_ps(sum, scales, *total);
    }
}

/// Looks codes up among values that have been scaled and rounded.
#[inline]
#[target_feature(enable = "avx512f")]
fn scaled_before<const COUNT: usize>(
    book: &Book,
    rows: [Row; COUNT],
    (step, inputs): (usize, &[Lanes]),
    totals: &mut [__m512; COUNT],
) {
    let table = load(&book.values);
    let (nibble, second) = (_mm512_set1_epi32(15), _mm512_maskz_set1_epi32(UPPER, 16));
    for (total, row) in totals.iter_mut().zip(rows) {
        let mut codes = row.codes(step);
        let [low, high] = row.two(step);
        let low = rounded(_mm512_mul_ps(table, _mm512_set1_ps(low)), book.rounding);
        let high = rounded(_mm512_mul_ps(table, _mm512_set1_ps(high)), book.rounding);
        for input in inputs {
            // The fifth bit of an index chooses the second table.
            let index = _mm512_or_si512(_mm512_and_si512(codes, nibble), second);
            let weights = _mm512_permutex2var_ps(low, index, high);
            *total = _mm512_fmadd_ps(weights, load(input), *total);
            codes = _mm512_srli_epi32::<4>(codes);
        }
    }
}

/// Weights, which are finite, in a type of 16 bits, ties to even.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(values: __m512, rounding: DType) -> __m512 {
    match rounding {
        DType::F32 => values,
        DType::F16 => _mm512_cvtph_ps(_mm512_cvtps_ph::<0>(values)),
        DType::BF16 => {
            let bits = _mm512_castps_si512(values);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let short = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, up));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(short))
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &Lanes) -> __m512 {
    // SAFETY: sixteen values are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
