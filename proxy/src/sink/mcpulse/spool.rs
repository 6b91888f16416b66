//! Calls on disk: append-only segment files in a folder that one process owns by a file lock.
//!
//! Every call is written before it is sent and forgotten once MCPulse has answered for it. It
//! so survives the end of the process however that comes, and is sent at least once, under the
//! same id. Nothing is synced to the medium: a crash of the whole machine may lose the last
//! seconds, and what it tears is cut. The oldest segment goes when the limit is reached.

use std::{
    collections::VecDeque,
    fmt::Display,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use uuid::Uuid;

use self::segment::Segment;

mod segment;

/// Begins the name of each process's folder, so that no other folder is ever touched.
const FOLDER: &str = "proxy-";
const LOCK: &str = "lock";
const SUFFIX: &str = "calls";
/// The oldest segment is lost whole, so a limit is divided into this many.
const SEGMENTS: u64 = 16;
const LARGEST_SEGMENT: u64 = 4 << 20;

/// The calls that this process keeps on disk.
#[derive(Debug)]
pub(super) struct Spool {
    /// Its own folder, and those of dead processes that it found.
    folders: Vec<Folder>,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// Whether the last of them may grow.
    growing: bool,
    /// Of a segment, in its name.
    next_number: u64,
    /// Segments so far, those found included: tells them apart.
    known: u64,
    limit: u64,
}

/// Where a call is that was handed out: its segment, and the end of its record there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: u64,
    end: u64,
}

/// A folder that is ours for as long as the lock is held.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    lock: File,
}

/// What was found when the spool was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Calls of earlier processes.
    pub(super) restored: u64,
    /// Calls besides them that damage took: exactly those missing between two that are there;
    /// at least one where none follows.
    pub(super) damaged: u64,
    /// Those of them that were given up for the limit.
    pub(super) evicted: u64,
}

/// What became of calls that were to be written.
#[derive(Debug, Default)]
pub(super) struct Appended {
    /// How many of them are on disk, from the first.
    pub(super) kept: usize,
    /// Waiting calls that were given up for the limit.
    pub(super) evicted: u64,
    /// Why the others are not on disk.
    pub(super) error: Option<io::Error>,
}

/// Calls for a batch.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) calls: Vec<(Bytes, Place)>,
    /// Calls that could not be read and are given up.
    pub(super) unreadable: u64,
}

impl Spool {
    /// Takes over what dead processes left below `root`, and a folder of its own.
    pub(super) fn open(root: &Path, limit: u64) -> io::Result<(Self, Found)> {
        fs::create_dir_all(root)?;
        let (mut folders, mut found) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(root)? {
            let Some(folder) = Folder::adopt(entry?.path()) else { continue };
            match folder.segments() {
                Ok(segments) => {
                    found.extend(segments);
                    folders.push(folder);
                }
                Err(error) => warn_of_left(&folder.path, &error),
            }
        }
        if folders.is_empty() {
            folders.push(Folder::create(root)?);
        }
        let mut spool = Self {
            folders,
            segments: VecDeque::new(),
            growing: false,
            next_number: 0,
            known: 0,
            limit,
        };
        let damaged = spool.open_segments(found);
        let restored = spool.waiting();
        let evicted = spool.make_room(0);
        Ok((spool, Found { restored, damaged, evicted }))
    }

    /// Whether a spool could be kept below `root`, which need not be there.
    pub(super) fn check(root: &Path) -> io::Result<()> {
        let there = root.ancestors().find(|folder| folder.exists());
        // A relative path has no ancestor that is there but the working directory.
        let there = there.unwrap_or(Path::new("."));
        let probe = there.join(format!("{FOLDER}{}", Uuid::new_v4()));
        private().create(&probe)?;
        fs::remove_dir(probe)
    }

    /// Opens the segments found in its folders; how many calls are damaged in them.
    fn open_segments(&mut self, mut found: Vec<(u64, PathBuf)>) -> u64 {
        let mut damaged = 0;
        found.sort();
        for (number, path) in found {
            self.next_number = number + 1;
            match Segment::open(path.clone(), self.known) {
                Ok((segment, lost)) => {
                    damaged += lost;
                    self.known += 1;
                    self.segments.push_back(segment);
                }
                Err(error) => warn_of_left(&path, &error),
            }
        }
        self.tidy();
        damaged
    }

    /// Calls that wait to be taken.
    pub(super) fn waiting(&self) -> u64 {
        self.segments.iter().map(Segment::unread).sum()
    }

    /// Calls on disk, those handed out included, for which MCPulse has not answered.
    pub(super) fn unsettled(&self) -> u64 {
        self.segments.iter().map(|segment| segment.unread() + segment.handed() as u64).sum()
    }

    /// Writes calls behind all others, for which the oldest may have to go.
    pub(super) fn append(&mut self, calls: &[Bytes]) -> Appended {
        let mut appended = Appended::default();
        // With room for the header of another segment.
        let mut size = segment::HEADER;
        for (index, call) in calls.iter().enumerate() {
            size += segment::size(call);
            if (size as u64) < self.segment_size() && index + 1 < calls.len() {
                continue;
            }
            appended.evicted += self.make_room(size as u64);
            if let Err(error) = self.write(&calls[appended.kept..=index], size as u64) {
                self.growing = false;
                appended.error = Some(error);
                break;
            }
            appended.kept = index + 1;
            size = segment::HEADER;
        }
        appended
    }

    /// Adds calls of this size to the last segment, or to a new one behind it.
    fn write(&mut self, calls: &[Bytes], size: u64) -> io::Result<()> {
        if size > self.limit {
            return Err(io::Error::other("a call is larger than the limit of the spool"));
        }
        if self.segments.back().is_none_or(|last| last.length() >= self.segment_size()) {
            self.growing = false;
        }
        if !self.growing {
            let name = format!("{:020}.{SUFFIX}", self.next_number);
            self.next_number = self.next_number.checked_add(1).ok_or_else(|| {
                io::Error::other("no file name comes after those that are there: start it anew")
            })?;
            let path = self.folders[0].path.join(name);
            self.segments.push_back(Segment::create(path, self.known)?);
            self.known += 1;
            self.growing = true;
        }
        match self.segments.back_mut() {
            Some(last) => last.append(calls),
            None => Ok(()),
        }
    }

    fn segment_size(&self) -> u64 {
        (self.limit / SEGMENTS).min(LARGEST_SEGMENT)
    }

    /// Deletes the oldest segments until `size` bytes fit; how many waiting calls that cost.
    fn make_room(&mut self, size: u64) -> u64 {
        let mut used: u64 = self.segments.iter().map(Segment::length).sum();
        let mut evicted = 0;
        while used + size > self.limit
            && let Some(oldest) = self.segments.pop_front()
        {
            used -= oldest.length();
            evicted += oldest.unread();
            oldest.delete();
        }
        self.growing &= !self.segments.is_empty();
        evicted
    }

    /// Hands out the oldest calls: up to `count`, of together about `bytes` bytes.
    pub(super) fn take(&mut self, count: usize, bytes: usize) -> Taken {
        let mut taken = Taken::default();
        let mut total = 0;
        for segment in &mut self.segments {
            let (count, bytes) = (count - taken.calls.len(), bytes.saturating_sub(total));
            if count == 0 || bytes == 0 {
                break;
            }
            match segment.read(count, bytes, &mut taken.calls) {
                Ok(read) => total += read,
                Err(error) => {
                    tracing::warn!("cannot read calls back from the spool: {error}");
                    taken.unreadable += segment.abandon();
                }
            }
        }
        self.tidy();
        taken
    }

    /// MCPulse has answered for these calls, which were handed out.
    pub(super) fn settle(&mut self, places: &[Place]) {
        for segment in &mut self.segments {
            let id = segment.id();
            let here = places.iter().filter(|place| place.segment == id);
            segment.settle(here.map(|place| place.end));
        }
        self.tidy();
    }

    /// Whether this call, which was handed out, is still on disk: its segment may have had to go.
    pub(super) fn holds(&self, place: Place) -> bool {
        self.segments.iter().any(|segment| segment.id() == place.segment)
    }

    fn tidy(&mut self) {
        let last = self.segments.back().map(Segment::is_done);
        for segment in std::mem::take(&mut self.segments) {
            if segment.is_done() {
                segment.delete();
            } else {
                self.segments.push_back(segment);
            }
        }
        self.growing &= last == Some(false);
    }
}

impl Drop for Spool {
    /// Leaves nothing behind but calls, those included that only another process can read:
    /// without its lock none would look for them.
    fn drop(&mut self) {
        for folder in &self.folders {
            if folder.is_empty().unwrap_or(false) {
                let _ = fs::remove_file(folder.path.join(LOCK));
                let _ = fs::remove_dir(&folder.path);
            }
            // Not before the folder is gone, or another process might adopt it half removed.
            let _ = folder.lock.unlock();
        }
    }
}

impl Folder {
    fn create(root: &Path) -> io::Result<Self> {
        let path = root.join(format!("{FOLDER}{}", Uuid::new_v4()));
        private().create(&path)?;
        let lock = File::create_new(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock }),
            // Another process took it for one of the dead.
            Err(TryLockError::WouldBlock) => Self::create(root),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The folder of a dead process; none when it is alive, or this is no such folder.
    fn adopt(path: PathBuf) -> Option<Self> {
        if !path.file_name()?.to_str()?.starts_with(FOLDER) {
            return None;
        }
        let lock = File::options().read(true).write(true).open(path.join(LOCK)).ok()?;
        match lock.try_lock() {
            // Its owner may have removed it just before it let go of the lock.
            Ok(()) => path.join(LOCK).exists().then_some(Self { path, lock }),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                tracing::warn!("cannot lock {}: {error}", path.display());
                None
            }
        }
    }

    /// The files of calls in it, each with its number.
    fn segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let number: Option<u64> = stem.and_then(|stem| stem.parse().ok());
            let suffix = path.extension().and_then(|suffix| suffix.to_str());
            match number {
                // No name could follow it, so it was never written here.
                Some(u64::MAX) if suffix == Some(SUFFIX) => {
                    warn_of_left(&path, &"this is no name of a spool's file");
                }
                Some(number) if suffix == Some(SUFFIX) => found.push((number, path)),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Whether there is nothing in it but its lock.
    fn is_empty(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            if entry?.file_name() != LOCK {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Says what is not used now, and left to a later start.
fn warn_of_left(path: &Path, why: &dyn Display) {
    tracing::warn!("cannot read {}: {why}; it stays, and each start tries again", path.display());
}

/// Makes folders that only their owner can read: calls are nobody else's business.
fn private() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "permissions are inherited there"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(test)]
mod tests;
