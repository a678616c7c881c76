//! pipe(2): the reading end holds the bytes, the writing end knows the reading end.

use std::collections::VecDeque;
use std::task::Poll;

use halfopen_core::Errno;
use halfopen_netstack::Readiness;

use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::scheduler::{WaitFor, WaitKey};
use crate::{Call, Kernel, Outcome};

/// Bytes that a pipe holds (pipe(7): 16 pages).
pub const PIPE_CAPACITY_BYTES: usize = PIPE_PAGES * PIPE_BUF_BYTES;
/// A write of up to so many bytes, a page, is never split (include/uapi/linux/limits.h).
pub const PIPE_BUF_BYTES: usize = 4_096;
/// Pages of a pipe (include/linux/pipe_fs_i.h: PIPE_DEF_BUFFERS).
const PIPE_PAGES: usize = 16;

/// A page of a pipe: what was read of it is not free before all of it was.
#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    taken: usize,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct PipeReader {
    pages: VecDeque<Page>,
    /// `None` once the writing end is closed.
    writer: Option<FileId>,
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    /// `None` once the reading end is closed.
    reader: Option<FileId>,
}

impl PipeReader {
    pub(crate) fn readiness(&self) -> Readiness {
        let readable = if self.pages.is_empty() { Readiness::NONE } else { Readiness::IN };
        if self.writer.is_none() { readable.with(Readiness::HUP) } else { readable }
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.iter().map(|page| page.bytes.len() - page.taken).sum()
    }

    fn is_full(&self) -> bool {
        self.pages.len() == PIPE_PAGES
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let mut len = 0;
        while len < buffer.len()
            && let Some(page) = self.pages.front_mut()
        {
            let part = &page.bytes[page.taken..];
            let count = part.len().min(buffer.len() - len);
            buffer[len..len + count].copy_from_slice(&part[..count]);
            len += count;
            page.taken += count;
            if page.taken == page.bytes.len() {
                self.pages.pop_front();
            }
        }
        len
    }

    /// Takes in as much as fits (fs/pipe.c, `pipe_write`): what is over whole pages may join the last page, as a whole;
    /// the rest goes into pages of its own. `begun`: the start of this write was taken in before.
    fn put(&mut self, data: &[u8], begun: bool) -> usize {
        let over = data.len() % PIPE_BUF_BYTES;
        let mut len = 0;
        if !begun
            && over > 0
            && let Some(last) = self.pages.back_mut().filter(|last| last.bytes.len() + over <= PIPE_BUF_BYTES)
        {
            last.bytes.extend_from_slice(&data[..over]);
            len = over;
        }
        while len < data.len() && !self.is_full() {
            let end = data.len().min(len + PIPE_BUF_BYTES);
            self.pages.push_back(Page { bytes: data[len..end].to_vec(), taken: 0 });
            len = end;
        }
        len
    }
}

impl Kernel {
    /// pipe2(2): the reading end and the writing end.
    ///
    /// # Errors
    /// EMFILE.
    pub fn pipe(&mut self, nonblocking: bool, close_on_exec: bool) -> Result<(Fd, Fd), Errno> {
        self.count_call();
        self.need_room(2)?;
        let reader = PipeReader { pages: VecDeque::new(), writer: None };
        let reader = self.new_file(FileKind::PipeReader(reader), nonblocking);
        let writer = self.new_file(FileKind::PipeWriter(PipeWriter { reader: Some(reader) }), nonblocking);
        self.pipe_reader_mut(reader).writer = Some(writer);
        Ok((self.install(reader, close_on_exec)?, self.install(writer, close_on_exec)?))
    }

    fn pipe_reader(&self, file: FileId) -> &PipeReader {
        match &self.files.get(file).kind {
            FileKind::PipeReader(reader) => reader,
            _ => unreachable!("a pipe's reading end is one"),
        }
    }

    fn pipe_reader_mut(&mut self, file: FileId) -> &mut PipeReader {
        match &mut self.files.get_mut(file).kind {
            FileKind::PipeReader(reader) => reader,
            _ => unreachable!("a pipe's reading end is one"),
        }
    }

    /// FIONREAD of the writing end: the bytes that the reading end still holds.
    pub(crate) fn pipe_writer_len(&self, writer: &PipeWriter) -> usize {
        writer.reader.map_or(0, |reader| self.pipe_reader(reader).len())
    }

    pub(crate) fn pipe_writer_readiness(&self, writer: &PipeWriter) -> Readiness {
        match writer.reader.map(|reader| self.pipe_reader(reader).is_full()) {
            None => Readiness::OUT.with(Readiness::ERR),
            Some(true) => Readiness::NONE,
            Some(false) => Readiness::OUT,
        }
    }

    pub(crate) fn read_pipe(&mut self, fd: Fd, file: FileId, buffer: &mut [u8], call: &mut Call) -> Outcome<usize> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let reader = self.pipe_reader_mut(file);
        let writer = reader.writer;
        let was_full = reader.is_full();
        let len = reader.take(buffer);
        if len > 0 {
            match writer {
                // Room in a pipe that had room is no edge.
                Some(writer) if was_full => self.notify(writer, Readiness::OUT),
                Some(writer) => self.wake_all(WaitKey::File(writer)),
                None => {}
            }
            return Poll::Ready(Ok(len));
        }
        if writer.is_none() {
            return Poll::Ready(Ok(0));
        }
        let may_wait = !self.files.get(file).nonblocking;
        self.wait_for_file(file, may_wait, None, Errno::EAGAIN, call, WaitFor::Read(fd))
    }

    pub(crate) fn write_pipe(&mut self, fd: Fd, file: FileId, data: &[u8], call: &mut Call) -> Outcome<usize> {
        let FileKind::PipeWriter(writer) = &self.files.get(file).kind else {
            unreachable!("the caller looked at the kind")
        };
        // Nothing to write is done even where nobody could read it.
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(reader) = writer.reader else {
            return Poll::Ready(if call.done > 0 { Ok(call.done) } else { Err(Errno::EPIPE) });
        };
        let rest = &data[call.done..];
        let end = self.pipe_reader_mut(reader);
        let len = end.put(rest, call.done > 0);
        call.done += len;
        if len > 0 {
            self.notify(reader, Readiness::IN);
        }
        let nonblocking = self.files.get(file).nonblocking;
        if call.done == data.len() || (nonblocking && call.done > 0) {
            return Poll::Ready(Ok(call.done));
        }
        self.wait_for_file(file, !nonblocking, None, Errno::EAGAIN, call, WaitFor::Write(fd))
    }

    pub(crate) fn close_pipe_reader(&mut self, reader: PipeReader) {
        let Some(writer) = reader.writer else { return };
        match &mut self.files.get_mut(writer).kind {
            FileKind::PipeWriter(writer) => writer.reader = None,
            _ => unreachable!("a pipe's writing end is one"),
        }
        self.notify_all(writer);
    }

    pub(crate) fn close_pipe_writer(&mut self, writer: PipeWriter) {
        let Some(reader) = writer.reader else { return };
        self.pipe_reader_mut(reader).writer = None;
        self.notify_all(reader);
    }
}
