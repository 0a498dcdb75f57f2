//! [`super::pack`] by AVX2: a value's place among the fifteen bounds by halving, eight values at a time.
//! Unsafe for one store; `unsafe_avx2` is the only caller and has the instructions.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_NLE_UQ, _mm_set1_epi16, _mm256_add_epi32, _mm256_and_ps,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_broadcastsi128_si256, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_maddubs_epi16, _mm256_max_epi32, _mm256_mul_ps,
    _mm256_packs_epi16, _mm256_packs_epi32, _mm256_packus_epi16, _mm256_permute4x64_epi64,
    _mm256_permutevar8x32_epi32, _mm256_permutevar8x32_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_storeu_si256,
    _mm256_sub_epi32,
};

use super::{
    BLOCK, Bounds,
    pack::{divisor, largest},
    unsafe_avx2::{load, sixteen, store},
};

/// As [`super::pack::pack_block`].
#[target_feature(enable = "avx2,fma,f16c")]
pub fn pack_block(values: &[f32; BLOCK], bounds: &Bounds, packed: &mut [u8]) -> f32 {
    let (eights, _) = values.as_chunks::<8>();
    let magnitude = _mm256_set1_ps(f32::from_bits(0x7fff_ffff));
    let mut most = _mm256_setzero_si256();
    for eight in eights {
        // As bits, among which every NaN is beyond infinity.
        let eight = _mm256_castps_si256(_mm256_and_ps(load(eight), magnitude));
        most = _mm256_max_epi32(eight, most);
    }
    let mut lanes = [0.0; 32];
    store([_mm256_castsi256_ps(most); 4], &mut lanes);
    let absmax = largest(&lanes[..8]);
    // What rounding takes past 1 is beyond the last bound as 1 is: no clamp.
    let inverse = _mm256_set1_ps(1.0 / divisor(absmax));
    let steps = Steps::new(bounds);
    let mut halves = [most; 2];
    for (half, eights) in halves.iter_mut().zip(eights.chunks_exact(4)) {
        let places = [0, 1, 2, 3].map(|at| load(&eights[at]));
        let [a, b, c, d] = places;
        *half = steps.pairs([
            steps.places(_mm256_mul_ps(a, inverse)),
            steps.places(_mm256_mul_ps(b, inverse)),
            steps.places(_mm256_mul_ps(c, inverse)),
            steps.places(_mm256_mul_ps(d, inverse)),
        ]);
    }
    // Packed by lanes of 128 bits; their quarters come back into order.
    let bytes =
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(halves[0], halves[1]));
    assert!(packed.len() >= BLOCK / 2, "a block has 32 bytes");
    // SAFETY: 32 bytes are there, and the store has no alignment to keep.
    unsafe { _mm256_storeu_si256(packed.as_mut_ptr().cast(), bytes) };
    absmax
}

/// The bounds as they are halved: the middle, the two beside it, then four, then eight.
struct Steps {
    middle: __m256,
    quarters: [__m256; 2],
    /// Four bounds, twice.
    eighths: __m256,
    last: __m256,
    order: __m256i,
}

impl Steps {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(bounds: &Bounds) -> Self {
        let b = &bounds.bounds;
        let eighths = [b[1], b[5], b[9], b[13], b[1], b[5], b[9], b[13]];
        let order: __m128i = sixteen(&bounds.order);
        Self {
            middle: _mm256_set1_ps(b[7]),
            quarters: [_mm256_set1_ps(b[3]), _mm256_set1_ps(b[11])],
            eighths: load(&eighths),
            last: load(&[b[0], b[2], b[4], b[6], b[8], b[10], b[12], b[14]]),
            order: _mm256_broadcastsi128_si256(order),
        }
    }

    /// How many bounds lie below each of eight values; below NaN all.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn places(&self, values: __m256) -> __m256i {
        let above = |bound| _mm256_cmp_ps::<_CMP_NLE_UQ>(values, bound);
        let halves = above(self.middle);
        let quarters = above(_mm256_blendv_ps(self.quarters[0], self.quarters[1], halves));
        let two = _mm256_and_si256(_mm256_castps_si256(halves), _mm256_set1_epi32(2));
        // A comparison that holds is -1.
        let place = _mm256_sub_epi32(two, _mm256_castps_si256(quarters));
        let eighths = above(_mm256_permutevar8x32_ps(self.eighths, place));
        let place = _mm256_add_epi32(place, place);
        let place = _mm256_sub_epi32(place, _mm256_castps_si256(eighths));
        let last = above(_mm256_permutevar8x32_ps(self.last, place));
        let place = _mm256_add_epi32(place, place);
        _mm256_sub_epi32(place, _mm256_castps_si256(last))
    }

    /// From 32 places to sixteen numbers of 16 bits with two codes each, the first in the high half.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn pairs(&self, [a, b, c, d]: [__m256i; 4]) -> __m256i {
        let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        // Fours of a, b, c and d from the low lanes, then from the high ones.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let places = _mm256_permutevar8x32_epi32(bytes, order);
        let codes = _mm256_shuffle_epi8(self.order, places);
        // 16 and 1 for each pair of bytes.
        let weights = _mm256_broadcastsi128_si256(_mm_set1_epi16(0x0110));
        _mm256_maddubs_epi16(codes, weights)
    }
}
