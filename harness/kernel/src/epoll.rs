//! epoll(7).
//!
//! An item is keyed by (descriptor number, description), as Linux keys it: closing one of two duplicates leaves the
//! registration alive. Whatever may have become ready stands in a queue; level-triggered items go back to its end
//! after they were told, edge-triggered ones wait for the next edge: any change of the description that leaves it
//! ready, whether it was ready before or not.

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;

use halfopen_core::slots::Key;
use halfopen_core::{Errno, SimDuration, Slots};
use halfopen_netstack::Readiness;

use crate::fd::Fd;
use crate::file::{FileId, FileKind};
use crate::poll::events_of;
use crate::scheduler::{WaitFor, WaitKey};
use crate::{Call, Kernel, Outcome};

/// EPOLLET: edge-triggered (include/uapi/linux/eventpoll.h).
pub const EPOLLET: u32 = 1 << 31;
/// EPOLLONESHOT: told once, then silent until EPOLL_CTL_MOD.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// EPOLLEXCLUSIVE: wakes at least one of the instances that watch. All are woken here, which it permits.
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// All that may be asked for together with EPOLLEXCLUSIVE (fs/eventpoll.c: EPOLLEXCLUSIVE_OK_BITS): IN, OUT, ERR, HUP,
/// EPOLLWAKEUP, EPOLLET and the flag itself.
const EXCLUSIVE_OK: u32 = 0x1d | 1 << 29 | EPOLLET | EPOLLEXCLUSIVE;
/// epoll instances in a chain of watching (fs/eventpoll.c: EP_MAX_NESTS and the outermost one).
pub const EPOLL_NESTS_MAX: usize = 5;

/// What epoll_ctl sets and epoll_wait tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpollEvent {
    /// EPOLL* bits.
    pub events: u32,
    /// The program's own.
    pub data: u64,
}

/// epoll_ctl's operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpollOp {
    /// EPOLL_CTL_ADD.
    Add,
    /// EPOLL_CTL_MOD.
    Modify,
    /// EPOLL_CTL_DEL.
    Delete,
}

/// What a description knows of an item that watches it: in which epoll instance, and where there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Watcher {
    epoll: FileId,
    item: Key,
}

#[derive(Debug)]
struct Item {
    fd: Fd,
    file: FileId,
    event: EpollEvent,
    /// A one-shot item that was told: silent, even about errors, until it is modified.
    spent: bool,
    /// Its place in the queue of what may be ready.
    queued: Option<u64>,
}

impl Item {
    /// Which of the events of a description in this state it would tell.
    fn events(&self, ready: Readiness) -> u32 {
        if self.spent { 0 } else { events_of(ready, self.event.events) }
    }

    fn has(&self, flag: u32) -> bool {
        self.event.events & flag != 0
    }
}

/// One epoll instance.
#[derive(Debug, Default)]
pub(crate) struct Epoll {
    items: Slots<Item>,
    by_descriptor: BTreeMap<(Fd, FileId), Key>,
    /// Each with its place, in order.
    queue: VecDeque<(u64, Key)>,
    sequence: u64,
}

impl Epoll {
    fn item(&self, key: Key) -> &Item {
        self.items.get(key).expect("an item that is known is there")
    }

    fn item_mut(&mut self, key: Key) -> &mut Item {
        self.items.get_mut(key).expect("an item that is known is there")
    }

    fn find(&self, fd: Fd, file: FileId) -> Option<Key> {
        self.by_descriptor.get(&(fd, file)).copied()
    }

    fn enqueue(&mut self, key: Key) {
        let place = self.sequence + 1;
        let item = self.item_mut(key);
        if item.queued.is_none() {
            item.queued = Some(place);
            self.queue.push_back((place, key));
            self.sequence = place;
        }
    }

    /// The first in the queue up to this place, taken out.
    fn dequeue(&mut self, last: u64) -> Option<Key> {
        let (_, key) = self.queue.pop_front_if(|(place, _)| *place <= last)?;
        self.item_mut(key).queued = None;
        Some(key)
    }

    fn remove(&mut self, key: Key) {
        let item = self.items.remove(key).expect("an item that is known is there");
        self.by_descriptor.remove(&(item.fd, item.file));
        if let Some(place) = item.queued {
            let index = self.queue.binary_search_by_key(&place, |(place, _)| *place);
            self.queue.remove(index.expect("what is queued has its place in the queue"));
        }
    }
}

impl Kernel {
    /// epoll_create1(2).
    ///
    /// # Errors
    /// EMFILE.
    pub fn epoll_create(&mut self, close_on_exec: bool) -> Result<Fd, Errno> {
        self.count_call();
        self.open_file(FileKind::Epoll(Epoll::default()), false, close_on_exec)
    }

    fn epoll(&self, id: FileId) -> Option<&Epoll> {
        match &self.files.find(id)?.kind {
            FileKind::Epoll(epoll) => Some(epoll),
            _ => None,
        }
    }

    fn epoll_mut(&mut self, id: FileId) -> Option<&mut Epoll> {
        match &mut self.files.find_mut(id)?.kind {
            FileKind::Epoll(epoll) => Some(epoll),
            _ => None,
        }
    }

    /// epoll_ctl(2).
    ///
    /// # Errors
    /// EBADF, EPERM (not pollable), EINVAL (not an epoll instance, or itself), ELOOP, EEXIST, ENOENT.
    pub fn epoll_ctl(&mut self, epoll: Fd, op: EpollOp, fd: Fd, event: EpollEvent) -> Result<(), Errno> {
        self.count_call();
        let id = self.lookup(epoll)?;
        let file = self.lookup(fd)?;
        if matches!(self.files.get(file).kind, FileKind::Random) {
            return Err(Errno::EPERM);
        }
        let nested = self.epoll(file).is_some();
        let exclusive = event.events & EPOLLEXCLUSIVE != 0 && op != EpollOp::Delete;
        if file == id || self.epoll(id).is_none() || (exclusive && (nested || op == EpollOp::Modify)) {
            return Err(Errno::EINVAL);
        }
        if exclusive && event.events & !EXCLUSIVE_OK != 0 {
            return Err(Errno::EINVAL);
        }
        let known = self.epoll(id).and_then(|instance| instance.find(fd, file));
        match (op, known) {
            (EpollOp::Add, _) if nested && self.would_loop(id, file) => Err(Errno::ELOOP),
            (EpollOp::Add, Some(_)) => Err(Errno::EEXIST),
            (EpollOp::Modify | EpollOp::Delete, None) => Err(Errno::ENOENT),
            (EpollOp::Add, None) => {
                let item = Item { fd, file, event, spent: false, queued: None };
                let instance = self.epoll_mut(id).expect("the caller looked at the kind");
                let key = instance.items.insert(item);
                instance.by_descriptor.insert((fd, file), key);
                let watcher = Watcher { epoll: id, item: key };
                self.files.get_mut(file).watchers.push(watcher);
                self.look(watcher, file);
                Ok(())
            }
            (EpollOp::Modify, Some(key)) => {
                let instance = self.epoll_mut(id).expect("the caller looked at the kind");
                let item = instance.item_mut(key);
                // What was added with EPOLLEXCLUSIVE cannot be modified.
                if item.has(EPOLLEXCLUSIVE) {
                    return Err(Errno::EINVAL);
                }
                (item.event, item.spent) = (event, false);
                self.look(Watcher { epoll: id, item: key }, file);
                Ok(())
            }
            (EpollOp::Delete, Some(key)) => {
                let watcher = Watcher { epoll: id, item: key };
                self.files.get_mut(file).watchers.retain(|other| *other != watcher);
                self.forget_item(watcher);
                Ok(())
            }
        }
    }

    /// What is ready when an item is set counts as an edge.
    fn look(&mut self, watcher: Watcher, file: FileId) {
        let ready = self.readiness_of(file);
        self.edge(watcher, ready);
    }

    /// Whether `file` already watches `id`, directly or not, or the chain would become too long.
    fn would_loop(&self, id: FileId, file: FileId) -> bool {
        self.watches(file, id) || self.depth_below(file) + self.depth_above(id) > EPOLL_NESTS_MAX
    }

    fn nested_in(&self, id: FileId) -> impl Iterator<Item = FileId> + '_ {
        let watched = self.epoll(id).into_iter().flat_map(|epoll| epoll.by_descriptor.keys());
        watched.map(|(_, file)| *file).filter(|file| self.epoll(*file).is_some())
    }

    fn watches(&self, id: FileId, target: FileId) -> bool {
        id == target || self.nested_in(id).any(|nested| self.watches(nested, target))
    }

    fn depth_below(&self, id: FileId) -> usize {
        1 + self.nested_in(id).map(|nested| self.depth_below(nested)).max().unwrap_or(0)
    }

    fn depth_above(&self, id: FileId) -> usize {
        let watchers = &self.files.get(id).watchers;
        1 + watchers.iter().map(|watcher| self.depth_above(watcher.epoll)).max().unwrap_or(0)
    }

    /// A description that is watched changed and is now ready for these events.
    pub(crate) fn edge(&mut self, watcher: Watcher, ready: Readiness) {
        let instance = self.epoll_mut(watcher.epoll).expect("a watcher is an open epoll instance");
        if instance.item(watcher.item).events(ready) == 0 {
            return;
        }
        instance.enqueue(watcher.item);
        self.notify(watcher.epoll, Readiness::IN);
    }

    pub(crate) fn forget_item(&mut self, watcher: Watcher) {
        if let Some(instance) = self.epoll_mut(watcher.epoll) {
            instance.remove(watcher.item);
        }
    }

    pub(crate) fn close_epoll(&mut self, id: FileId, epoll: Epoll) {
        for (_, file) in epoll.by_descriptor.into_keys() {
            self.files.get_mut(file).watchers.retain(|watcher| watcher.epoll != id);
        }
    }

    /// An epoll instance is itself readable while it has something to tell.
    pub(crate) fn epoll_readiness(&self, epoll: &Epoll) -> Readiness {
        let tells = |item: &Item| item.events(self.readiness_of(item.file)) != 0;
        if epoll.queue.iter().any(|(_, key)| tells(epoll.item(*key))) { Readiness::IN } else { Readiness::NONE }
    }

    /// epoll_wait(2): appends up to `max` events to `out` and says how many; 0 at the timeout (`None` waits for ever).
    ///
    /// # Errors
    /// EBADF; EINVAL where it is not an epoll instance or `max` is 0.
    pub fn epoll_wait(
        &mut self,
        epoll: Fd,
        max: usize,
        timeout: Option<SimDuration>,
        out: &mut Vec<EpollEvent>,
        call: &mut Call,
    ) -> Outcome<usize> {
        self.count_call();
        let id = match self.lookup(epoll) {
            Err(errno) => return Poll::Ready(Err(errno)),
            Ok(id) if self.epoll(id).is_none() || max == 0 => return Poll::Ready(Err(Errno::EINVAL)),
            Ok(id) => id,
        };
        let count = self.collect(id, max, out);
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        if timeout.is_some_and(SimDuration::is_zero) {
            return self.idle_result(call, Ok(0));
        }
        if self.is_over(call) {
            return Poll::Ready(Ok(0));
        }
        if !call.resumed {
            call.deadline = timeout.map(|timeout| self.now + timeout);
        }
        self.block(call, &[WaitKey::File(id)], WaitFor::Epoll(epoll))
    }

    /// Goes once through what may be ready, as it stands at the beginning.
    fn collect(&mut self, id: FileId, max: usize, out: &mut Vec<EpollEvent>) -> usize {
        let last = self.epoll(id).map_or(0, |instance| instance.sequence);
        let mut count = 0;
        while count < max
            && let Some(key) = self.epoll_mut(id).and_then(|instance| instance.dequeue(last))
        {
            let file = self.epoll(id).expect("the caller looked at the kind").item(key).file;
            let ready = self.readiness_of(file);
            let instance = self.epoll_mut(id).expect("the caller looked at the kind");
            let item = instance.item_mut(key);
            let events = item.events(ready);
            if events == 0 {
                continue;
            }
            out.push(EpollEvent { events, data: item.event.data });
            count += 1;
            if item.has(EPOLLONESHOT) {
                item.spent = true;
            } else if !item.has(EPOLLET) {
                instance.enqueue(key);
            }
        }
        count
    }
}
