//! The mask of what a client sends (RFC 6455, 5.3).

/// Masks a payload, or removes the mask: both are the same.
pub(super) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    // Eight bytes at a time, which compilers turn into whole vectors.
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Some(bytes) = chunk.first_chunk_mut() {
            *bytes = (u64::from_ne_bytes(*bytes) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_byte_of_the_mask() {
        for length in 0..40_u8 {
            let plain: Vec<u8> = (0..length).collect();
            let mask = [0x37, 0xfa, 0x21, 0x3d];
            let mut masked = plain.clone();

            apply_mask(&mut masked, mask);
            for (index, byte) in masked.iter().enumerate() {
                assert_eq!(*byte, plain[index] ^ mask[index % 4]);
            }

            apply_mask(&mut masked, mask);
            assert_eq!(masked, plain);
        }
    }
}
