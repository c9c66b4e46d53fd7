//! Reading and writing the binary encoding: numbers of variable length, and bytes with their length.

/// Why bytes could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// They end too early.
    #[error("the binary frame ends in the middle of {0}")]
    Truncated(&'static str),
    /// Something in them has no meaning.
    #[error("the binary frame is malformed: {0}")]
    Malformed(&'static str),
    /// They are compressed, and this program was built without that.
    #[error("the frame is compressed; build with the feature `zstd` to read it")]
    Compressed,
    /// They say that they hold more than a frame may.
    #[error("a part of {len} bytes is larger than the {max} allowed")]
    TooLarge {
        /// Bytes when decompressed.
        len: u64,
        /// Most that are taken.
        max: u64,
    },
}

/// Appends to a buffer.
pub(super) trait Put {
    fn byte(&mut self, byte: u8);
    fn raw(&mut self, bytes: &[u8]);

    /// Seven bits a byte, the low ones first.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Small numbers of either sign are short.
    fn signed(&mut self, number: i64) {
        self.varint(((number << 1) ^ (number >> 63)) as u64);
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }
}

impl Put for Vec<u8> {
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads from the beginning of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, BinaryError> {
        let (first, rest) = self.0.split_first().ok_or(BinaryError::Truncated(what))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn raw(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], BinaryError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BinaryError::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], BinaryError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BinaryError::Truncated(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, BinaryError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(BinaryError::Malformed(what));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(BinaryError::Malformed(what))
    }

    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, BinaryError> {
        let number = self.varint(what)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number of things of which each takes at least `least` bytes (or `least` bits where `in_bits`): one
    /// that cannot be is refused before room is made for them.
    pub(super) fn count(&mut self, least: usize, what: &'static str) -> Result<usize, BinaryError> {
        let count = self.varint(what)?;
        match usize::try_from(count) {
            Ok(count) if count.saturating_mul(least) <= self.0.len() => Ok(count),
            _ => Err(BinaryError::Truncated(what)),
        }
    }

    pub(super) fn sized(&mut self, what: &'static str) -> Result<&'a [u8], BinaryError> {
        let len = self.count(1, what)?;
        self.raw(len, what)
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, BinaryError> {
        std::str::from_utf8(self.sized(what)?).map_err(|_| BinaryError::Malformed(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let mut bytes = Vec::new();
        for number in numbers {
            bytes.varint(number);
            bytes.signed(number as i64);
        }
        let mut take = Take(&bytes);
        for number in numbers {
            assert_eq!(take.varint("n"), Ok(number));
            assert_eq!(take.signed("n"), Ok(number as i64));
        }
        assert!(take.is_empty());
        assert_eq!(take.varint("n"), Err(BinaryError::Truncated("n")));
        assert_eq!(Take(&[0xff; 11]).varint("n"), Err(BinaryError::Malformed("n")));
    }

    #[test]
    fn a_count_that_cannot_be_is_refused() {
        let mut bytes = Vec::new();
        bytes.varint(1 << 60);
        bytes.raw(&[0; 100]);
        assert_eq!(Take(&bytes).count(16, "ids"), Err(BinaryError::Truncated("ids")));
        assert_eq!(Take(&bytes).sized("text"), Err(BinaryError::Truncated("text")));
    }
}
