//! One file of the spool: records one after the other, each with its length and checksum.
//!
//! A record is read only when it is whole. What a crash left behind the last whole one is cut;
//! damage before it is stepped over, and what was there is counted as lost.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The first bytes of each file; the last of them is the version of the format.
const MAGIC: [u8; 8] = *b"MCPULSE\x01";
/// The magic bytes and the offset of the first record that is not settled.
pub(super) const HEADER: usize = 16;
/// Length and checksum.
const RECORD_HEADER: usize = 8;
/// Most bytes whose checksum is tried to find a record behind damage: a few seconds.
const SEARCH: usize = 1 << 30;

/// A file and how far it has been read and settled.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    /// Bytes up to the end of the last whole record.
    length: u64,
    /// Where the next record to hand out begins.
    read_at: u64,
    /// Records from there on.
    unread: u64,
    /// Where the records end that were handed out and are not settled.
    handed: VecDeque<u64>,
    /// Where there is no record to read, from `read_at` on.
    gaps: VecDeque<Range<u64>>,
}

/// What a file holds.
#[derive(Debug, Default)]
struct Survey {
    /// Where its whole records are.
    records: Vec<Range<u64>>,
    /// What is damaged, and about how many records were there: at least one each.
    gaps: Vec<(Range<u64>, u64)>,
}

impl Segment {
    /// A new file.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        header[8..].copy_from_slice(&(HEADER as u64).to_le_bytes());
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all(&header) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            path,
            length: HEADER as u64,
            read_at: HEADER as u64,
            unread: 0,
            handed: VecDeque::new(),
            gaps: VecDeque::new(),
        })
    }

    /// A file of an earlier process, without what is torn at its end; and how many records of
    /// it are lost to damage, at least.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, u64)> {
        let bytes = fs::read(&path)?;
        let (Some(header), true) = (bytes.get(..HEADER), bytes.starts_with(&MAGIC)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no file of a spool"));
        };
        let settled = u64::from_le_bytes(std::array::from_fn(|at| header[8 + at]));
        let Survey { records, mut gaps } = survey(&bytes);
        let length = records.last().map_or(HEADER as u64, |last| last.end);
        if length < bytes.len() as u64 {
            OpenOptions::new().write(true).open(&path)?.set_len(length)?;
        }
        // An offset that ends no record cannot have been written whole: all are sent again.
        let known = records.iter().any(|record| record.end == settled);
        let read_at = if known { settled } else { HEADER as u64 };
        let unread = records.iter().filter(|record| record.start >= read_at).count() as u64;
        gaps.retain(|(gap, _)| gap.start >= read_at);
        let lost = gaps.iter().map(|(_, records)| records).sum();
        if let Some((first, _)) = gaps.first() {
            let bytes: u64 = gaps.iter().map(|(gap, _)| gap.end - gap.start).sum();
            let (path, first) = (path.display(), first.start);
            tracing::warn!(
                "{path} is damaged: of {bytes} bytes, the first at {first}, no call can be read; \
                 lost: {lost} or more"
            );
        }
        let gaps = gaps.into_iter().map(|(gap, _)| gap).collect();
        Ok((Self { path, length, read_at, unread, handed: VecDeque::new(), gaps }, lost))
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
        self.handed.len()
    }

    /// Whether nothing in it is needed any more.
    pub(super) fn is_done(&self) -> bool {
        self.unread == 0 && self.handed.is_empty()
    }

    /// Adds records that [`write_record`] wrote. When that fails, none of them is there.
    pub(super) fn append(&mut self, records: &[u8], count: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(self.length))?;
        if let Err(error) = file.write_all(records) {
            // Best effort: what is behind `length` is overwritten next, or cut when reopened.
            let _ = file.set_len(self.length);
            return Err(error);
        }
        self.length += records.len() as u64;
        self.unread += count;
        Ok(())
    }

    /// Hands out up to `count` records of together about `bytes` bytes.
    pub(super) fn read(
        &mut self,
        count: usize,
        bytes: usize,
        records: &mut VecDeque<Bytes>,
    ) -> io::Result<usize> {
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(self.read_at))?;
        let (most, mut total) = (records.len() + count, 0);
        while self.unread > 0 && records.len() < most && total < bytes {
            if let Some(gap) = self.gaps.pop_front_if(|gap| gap.start == self.read_at) {
                self.read_at = file.seek(SeekFrom::Start(gap.end))?;
            }
            let record = read_record(&mut file, self.length - self.read_at)?;
            total += record.len();
            self.read_at += (RECORD_HEADER + record.len()) as u64;
            self.unread -= 1;
            self.handed.push_back(self.read_at);
            records.push_back(record);
        }
        Ok(total)
    }

    /// Gives up what was not handed out; how many that were.
    pub(super) fn abandon(&mut self) -> u64 {
        self.read_at = self.length;
        std::mem::take(&mut self.unread)
    }

    /// Settles up to `count` of the records handed out, the oldest first; how many those were.
    pub(super) fn settle(&mut self, count: usize) -> usize {
        let count = count.min(self.handed.len());
        let settled = self.handed.drain(..count).next_back();
        if let Some(settled) = settled
            && !self.is_done()
        {
            // Best effort: unsaved, it costs sending them once more after a restart.
            let _ = self.save(settled);
        }
        count
    }

    fn save(&self, settled: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        file.write_all(&settled.to_le_bytes())
    }

    /// Whether the file is in this folder.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        self.path.parent() == Some(folder)
    }

    /// Deletes the file.
    pub(super) fn delete(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot delete {}: {error}", self.path.display());
        }
    }
}

/// Appends a record to `buffer`.
pub(super) fn write_record(buffer: &mut BytesMut, record: &[u8]) {
    buffer.reserve(RECORD_HEADER + record.len());
    // A record is a part of a gRPC message, far below 4 GiB.
    buffer.put_u32_le(u32::try_from(record.len()).unwrap_or(u32::MAX));
    buffer.put_u32_le(checksum(record));
    buffer.put_slice(record);
}

fn survey(bytes: &[u8]) -> Survey {
    let (mut survey, mut at) = (Survey::default(), HEADER);
    while at < bytes.len() {
        let (end, found) = match record(bytes, at) {
            Some(end) if is_whole(&bytes[at..end]) => (end, true),
            _ => (find_record(bytes, at + 1).unwrap_or(bytes.len()), false),
        };
        let range = at as u64..end as u64;
        if found {
            survey.records.push(range);
        } else {
            // The headers may still say how many there were.
            let hops =
                std::iter::successors(Some(at), |&at| record(bytes, at).filter(|&at| at <= end));
            let hops: Vec<_> = hops.skip(1).collect();
            let lost = hops.len() as u64;
            if end < bytes.len() {
                let all = hops.last() == Some(&end);
                survey.gaps.push((range, if all { lost } else { 1 }));
            } else if lost > 0 {
                // Whatever is longer than the file was not written whole, and never counted.
                survey.gaps.push((range, lost));
            }
        }
        at = end;
    }
    survey
}

/// Where the next whole record begins, from `from` on.
fn find_record(bytes: &[u8], from: usize) -> Option<usize> {
    let mut tried = 0;
    (from..bytes.len()).find(|&at| {
        let Some(end) = record(bytes, at) else { return false };
        tried += end - at;
        tried <= SEARCH && is_whole(&bytes[at..end])
    })
}

/// Where the record ends that begins at `at`, if one can: none is empty.
fn record(bytes: &[u8], at: usize) -> Option<usize> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk()?;
    let (length, _) = split(*header);
    (1..=rest.len()).contains(&length).then_some(at + RECORD_HEADER + length)
}

/// Whether these bytes are a record with the right checksum.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_first_chunk().is_some_and(|(header, record)| checksum(record) == split(*header).1)
}

fn read_record(file: &mut impl Read, at_most: u64) -> io::Result<Bytes> {
    let mut header = [0; RECORD_HEADER];
    file.read_exact(&mut header)?;
    let (length, sum) = split(header);
    if (RECORD_HEADER + length) as u64 > at_most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record has the wrong length"));
    }
    let mut record = vec![0; length];
    file.read_exact(&mut record)?;
    if checksum(&record) != sum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record has the wrong checksum"));
    }
    Ok(record.into())
}

/// Length and checksum.
fn split(header: [u8; RECORD_HEADER]) -> (usize, u32) {
    let mut header = &header[..];
    (header.get_u32_le() as usize, header.get_u32_le())
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
