//! One file of the spool: records one after the other, each with its length, a checksum
//! and its number in the file.
//!
//! A record is read only when it is whole. What a crash left behind the last whole one is cut;
//! damage before it is stepped over, and what was there is counted as lost: the numbers around
//! it tell how many. Whether a file is ours its records tell, should the header be damaged,
//! which says up to where all are settled; one that is settled before its turn is marked itself.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Place;

/// The first bytes of each file; the last of them is the version of the format.
const MAGIC: [u8; 8] = *b"MCPULSE\x02";
/// The magic bytes and the offset of the first record that is not settled.
pub(super) const HEADER: usize = 16;
/// Length, checksum and number.
const RECORD_HEADER: usize = 12;
/// Where what the checksum covers begins: the number and the call.
const SUMMED_FROM: usize = 8;
/// Most bytes whose checksum is tried to find a record behind damage: a few seconds.
const SEARCH: usize = 1 << 30;

/// A file and how far it has been read and settled.
#[derive(Debug)]
pub(super) struct Segment {
    /// No other of this process has it.
    id: u64,
    path: PathBuf,
    /// Bytes up to the end of the last whole record.
    length: u64,
    /// The number of the next record.
    next: u32,
    /// Where the next record to hand out begins.
    read_at: u64,
    /// Records from there on.
    unread: u64,
    /// The records that were handed out, from the first that is not settled on.
    handed: VecDeque<Handed>,
    /// Where there is no record to read, from `read_at` on.
    gaps: VecDeque<Range<u64>>,
}

/// A record that was handed out.
#[derive(Debug)]
struct Handed {
    range: Range<u64>,
    settled: bool,
}

/// A part of a file.
#[derive(Debug)]
struct Stretch {
    range: Range<u64>,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A record with this number.
    Record(u32),
    /// The same, marked as settled.
    Settled(u32),
    /// Records are missing: so many, or at least so many where none follows.
    Damage(u64),
}

impl Segment {
    /// A new file.
    pub(super) fn create(path: PathBuf, id: u64) -> io::Result<Self> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        header[8..].copy_from_slice(&(HEADER as u64).to_le_bytes());
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all(&header) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            id,
            path,
            length: HEADER as u64,
            next: 0,
            read_at: HEADER as u64,
            unread: 0,
            handed: VecDeque::new(),
            gaps: VecDeque::new(),
        })
    }

    /// A file of an earlier process, without what is torn at its end; and how many records of
    /// it are lost to damage, at least.
    pub(super) fn open(path: PathBuf, id: u64) -> io::Result<(Self, u64)> {
        let bytes = fs::read(&path)?;
        let mut stretches = survey(&bytes);
        if stretches.iter().all(|stretch| matches!(stretch.what, What::Damage(_))) {
            if !bytes.starts_with(&MAGIC) && bytes.starts_with(&MAGIC[..MAGIC.len() - 1]) {
                let other = "it is of another version";
                return Err(io::Error::new(io::ErrorKind::InvalidData, other));
            }
            // Nobody knows what it was.
            if !bytes.starts_with(&MAGIC) && bytes.len() > HEADER && stretches.is_empty() {
                let range = HEADER as u64..bytes.len() as u64;
                stretches.push(Stretch { range, what: What::Damage(1) });
            }
        }
        // Nothing was ever written behind a header that is not whole.
        let settled = bytes.get(MAGIC.len()..).and_then(|rest| rest.first_chunk());
        let settled = settled.map_or(0, |offset| u64::from_le_bytes(*offset));
        let ends = |stretch: &&Stretch| !matches!(stretch.what, What::Damage(_));
        let length =
            stretches.iter().rfind(ends).map_or(HEADER as u64, |stretch| stretch.range.end);
        if length < bytes.len() as u64 {
            OpenOptions::new().write(true).open(&path)?.set_len(length)?;
        }
        // An offset that ends no record cannot have been written whole: all are sent again.
        let known = stretches.iter().filter(ends).any(|stretch| stretch.range.end == settled);
        let read_at = if known { settled } else { HEADER as u64 };
        stretches.retain(|stretch| stretch.range.start >= read_at);
        let is_record = |stretch: &mut Stretch| matches!(stretch.what, What::Record(_));
        let unread = stretches.extract_if(.., is_record).count();
        let lost = warn_of_damage(&path, &stretches, length);
        let gaps = stretches.into_iter().map(|stretch| stretch.range).collect();
        let (unread, handed) = (unread as u64, VecDeque::new());
        Ok((Self { id, path, length, next: 0, read_at, unread, handed, gaps }, lost))
    }

    /// What tells it from the others of this process.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Records that were not handed out.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// Records that were handed out and are not settled.
    pub(super) fn handed(&self) -> usize {
        self.handed.iter().filter(|record| !record.settled).count()
    }

    /// Whether nothing in it is needed any more.
    pub(super) fn is_done(&self) -> bool {
        self.unread == 0 && self.handed.is_empty()
    }

    /// Adds calls. When that fails, none of them is there.
    pub(super) fn append(&mut self, calls: &[Bytes]) -> io::Result<()> {
        let (mut records, mut next) = (BytesMut::new(), self.next);
        for call in calls {
            write_record(&mut records, next, call);
            next = next.wrapping_add(1);
        }
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(self.length))?;
        if let Err(error) = file.write_all(&records) {
            // Best effort: what is behind `length` is overwritten next, or cut when reopened.
            let _ = file.set_len(self.length);
            return Err(error);
        }
        self.length += records.len() as u64;
        self.unread += calls.len() as u64;
        self.next = next;
        Ok(())
    }

    /// Hands out up to `count` records of together about `bytes` bytes.
    pub(super) fn read(
        &mut self,
        count: usize,
        bytes: usize,
        records: &mut Vec<(Bytes, Place)>,
    ) -> io::Result<usize> {
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(self.read_at))?;
        let (most, mut total) = (records.len() + count, 0);
        while self.unread > 0 && records.len() < most && total < bytes {
            while let Some(gap) = self.gaps.pop_front_if(|gap| gap.start == self.read_at) {
                self.read_at = file.seek(SeekFrom::Start(gap.end))?;
            }
            let record = read_record(&mut file, self.length - self.read_at)?;
            total += record.len();
            let end = self.read_at + (RECORD_HEADER + record.len()) as u64;
            self.handed.push_back(Handed { range: self.read_at..end, settled: false });
            records.push((record, Place { segment: self.id, end }));
            (self.read_at, self.unread) = (end, self.unread - 1);
        }
        Ok(total)
    }

    /// Gives up what was not handed out; how many that were.
    pub(super) fn abandon(&mut self) -> u64 {
        self.read_at = self.length;
        std::mem::take(&mut self.unread)
    }

    /// Settles those of the records handed out that end there.
    pub(super) fn settle(&mut self, ends: impl Iterator<Item = u64>) {
        let mut early = Vec::new();
        for end in ends {
            if let Ok(at) = self.handed.binary_search_by_key(&end, |record| record.range.end) {
                self.handed[at].settled = true;
                early.push(self.handed[at].range.clone());
            }
        }
        let mut settled = None;
        while let Some(record) = self.handed.pop_front_if(|record| record.settled) {
            settled = Some(record.range.end);
        }
        early.retain(|range| settled.is_none_or(|settled| range.start >= settled));
        if !self.is_done() && (settled.is_some() || !early.is_empty()) {
            // Best effort: unsaved, it costs sending them once more after a restart.
            let _ = self.save(settled, &early);
        }
    }

    /// Writes up to where all are settled, and marks those that are so before their turn.
    fn save(&self, settled: Option<u64>, early: &[Range<u64>]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        if let Some(settled) = settled {
            file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
            file.write_all(&settled.to_le_bytes())?;
        }
        for range in early {
            file.seek(SeekFrom::Start(range.start))?;
            let length = range.end - range.start - RECORD_HEADER as u64;
            file.write_all(&mark(u32::try_from(length).unwrap_or(u32::MAX)).to_le_bytes())?;
        }
        Ok(())
    }

    /// Deletes the file.
    pub(super) fn delete(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot delete {}: {error}", self.path.display());
        }
    }
}

/// Bytes of a call in a file.
pub(super) fn size(call: &[u8]) -> usize {
    RECORD_HEADER + call.len()
}

/// Appends a record to `buffer`.
fn write_record(buffer: &mut BytesMut, number: u32, call: &[u8]) {
    buffer.reserve(size(call));
    // A call is a part of a gRPC message, far below 4 GiB.
    buffer.put_u32_le(u32::try_from(call.len()).unwrap_or(u32::MAX));
    let sum_at = buffer.len();
    buffer.put_u32_le(0);
    buffer.put_u32_le(number);
    buffer.put_slice(call);
    let sum = checksum(&buffer[sum_at + size_of::<u32>()..]);
    buffer[sum_at..sum_at + size_of::<u32>()].copy_from_slice(&sum.to_le_bytes());
}

/// The length as it is written before a record that is settled. Lengths are far below half of
/// what fits there, so that no single bit makes one of the other.
fn mark(length: u32) -> u32 {
    !length
}

/// What the whole file consists of, but for a torn end.
fn survey(bytes: &[u8]) -> Vec<Stretch> {
    let (mut stretches, mut at, mut next) = (Vec::new(), HEADER, 0);
    while at < bytes.len() {
        let (end, what) = if let Some((end, record)) = whole_record(bytes, at) {
            if let What::Record(number) | What::Settled(number) = record {
                next = number.wrapping_add(1);
            }
            (end, Some(record))
        } else if let Some(end) = find_record(bytes, at + 1) {
            (end, whole_record(bytes, end).map(|(_, record)| missing(next, record)))
        } else {
            (bytes.len(), damaged_end(bytes, at))
        };
        stretches.extend(what.map(|what| Stretch { range: at as u64..end as u64, what }));
        at = end;
    }
    stretches
}

/// What is missing before this record, where that with the number `next` was to come.
fn missing(next: u32, record: What) -> What {
    match record {
        What::Record(number) | What::Settled(number) => {
            What::Damage(u64::from(number.saturating_sub(next)).max(1))
        }
        What::Damage(_) => record,
    }
}

/// How many records were in what is damaged from `at` to the end of the file, at least: the
/// headers may still say. None for a torn end.
fn damaged_end(bytes: &[u8], at: usize) -> Option<What> {
    let hops = std::iter::successors(Some(at), |&at| record(bytes, at)).skip(1).count() as u64;
    // Whatever is longer than the file was not written whole, and never counted. None is empty.
    let is_torn = bytes[at..].first_chunk().is_none_or(|header| split(*header).0 > 0);
    if hops == 0 && is_torn { None } else { Some(What::Damage(hops.max(1))) }
}

/// Says what is damaged, if anything is, in a file whose last whole record ends at `length`;
/// how many records that took.
fn warn_of_damage(path: &Path, stretches: &[Stretch], length: u64) -> u64 {
    let (mut lost, mut bytes, mut first, mut or_more) = (0, 0, None, "");
    for Stretch { range, what } in stretches {
        if let What::Damage(records) = what {
            lost += records;
            bytes += range.end - range.start;
            first = first.or(Some(range.start));
            if range.start >= length {
                or_more = " or more";
            }
        }
    }
    if let Some(first) = first {
        tracing::warn!(
            "{} is damaged: of {bytes} bytes, the first at {first}, no call can be read; lost: \
             {lost}{or_more}",
            path.display()
        );
    }
    lost
}

/// Where the next whole record begins, from `from` on.
fn find_record(bytes: &[u8], from: usize) -> Option<usize> {
    let mut tried = 0;
    (from..bytes.len()).find(|&at| {
        let Some(end) = record(bytes, at) else { return false };
        tried += end - at;
        tried <= SEARCH && whole_record(bytes, at).is_some()
    })
}

/// The record at `at`, if there is a whole one, and where it ends.
fn whole_record(bytes: &[u8], at: usize) -> Option<(usize, What)> {
    let end = record(bytes, at)?;
    let header = *bytes[at..].first_chunk()?;
    let (_, sum, number) = split(header);
    let what = if is_marked(header) { What::Settled(number) } else { What::Record(number) };
    (checksum(&bytes[at + SUMMED_FROM..end]) == sum).then_some((end, what))
}

/// Where the record ends that begins at `at`, if one can: none is empty.
fn record(bytes: &[u8], at: usize) -> Option<usize> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk()?;
    let (length, ..) = split(*header);
    (1..=rest.len()).contains(&length).then_some(at + RECORD_HEADER + length)
}

/// Whether this begins a record that is settled.
fn is_marked(header: [u8; RECORD_HEADER]) -> bool {
    header.as_slice().get_u32_le() > u32::MAX / 2
}

fn read_record(file: &mut impl Read, at_most: u64) -> io::Result<Bytes> {
    let mut header = [0; RECORD_HEADER];
    file.read_exact(&mut header)?;
    let (length, sum, _) = split(header);
    if (RECORD_HEADER + length) as u64 > at_most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record has the wrong length"));
    }
    let mut record = header[SUMMED_FROM..].to_vec();
    record.resize(record.len() + length, 0);
    file.read_exact(&mut record[RECORD_HEADER - SUMMED_FROM..])?;
    if checksum(&record) != sum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record has the wrong checksum"));
    }
    Ok(Bytes::from(record).slice(RECORD_HEADER - SUMMED_FROM..))
}

/// Length, checksum and number.
fn split(header: [u8; RECORD_HEADER]) -> (usize, u32, u32) {
    let mut fields = &header[..];
    let (length, sum, number) = (fields.get_u32_le(), fields.get_u32_le(), fields.get_u32_le());
    let length = if is_marked(header) { mark(length) } else { length };
    (length as usize, sum, number)
}

/// CRC-32 (IEEE 802.3).
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |sum, byte| {
        let index = (sum ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (sum >> 8)
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0_u32;
    while index < 256 {
        let (mut sum, mut bit) = (index, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[index as usize] = sum;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_everybody() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
    }
}
