//! epoll and poll: level and edge, one-shot, nesting, duplicates, closing, errors, order.

use halfopen_core::Errno;
use halfopen_kernel::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EpollEvent, EpollOp, FD_BASE, Fd, SocketType};

use crate::world::{IN, OUT, RDHUP, Sys, check, millis};

fn epoll(sys: &Sys) -> Fd {
    sys.k(|kernel| kernel.epoll_create(true)).unwrap()
}

async fn signal(sys: &Sys, fd: Fd) {
    sys.write(fd, &1u64.to_ne_bytes()).await.unwrap();
}

async fn clear(sys: &Sys, fd: Fd) {
    sys.read(fd, 8).await.unwrap();
}

#[test]
fn level_triggered_tells_as_long_as_it_holds() {
    check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        sys.epoll_add(ep, fd, IN, 1).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "");
        signal(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "1:IN");
        assert_eq!(sys.epoll_now(ep).await, "1:IN");
        clear(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "");
        sys.epoll_modify(ep, fd, IN | OUT, 2).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "2:OUT");
    });
}

#[test]
fn edge_triggered_tells_once_for_each_arrival() {
    check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        sys.epoll_add(ep, fd, IN | OUT | EPOLLET, 1).unwrap();
        // What is ready when it is added counts as an edge.
        assert_eq!(sys.epoll_now(ep).await, "1:OUT");
        assert_eq!(sys.epoll_now(ep).await, "");
        signal(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "1:IN|OUT");
        assert_eq!(sys.epoll_now(ep).await, "");
        // Nothing was read, but a second arrival is an edge all the same (mio's waker relies on it).
        signal(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "1:IN|OUT");
        // Two arrivals between two waits are one.
        signal(&sys, fd).await;
        signal(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "1:IN|OUT");
        assert_eq!(sys.epoll_now(ep).await, "");
        // Modifying is an edge, too.
        sys.epoll_modify(ep, fd, IN | EPOLLET, 3).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "3:IN");
        // An edge whose readiness is gone before anybody looked is nothing.
        signal(&sys, fd).await;
        clear(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "");
    });
}

#[test]
fn a_read_is_no_edge_for_readers() {
    check(|sys| async move {
        let ep = epoll(&sys);
        let fd = sys.k(|kernel| kernel.eventfd(5, true, true, true)).unwrap();
        sys.epoll_add(ep, fd, IN | EPOLLET, 1).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:IN");
        // The semaphore is still readable, but what changed is room to write.
        clear(&sys, fd).await;
        assert_eq!(sys.epoll_now(ep).await, "");
    });
}

#[test]
fn one_shot_tells_once_until_modified() {
    check(|sys| async move {
        let (ep, (read, write)) = (epoll(&sys), sys.k(|kernel| kernel.pipe(true, true)).unwrap());
        sys.epoll_add(ep, read, IN | EPOLLONESHOT, 1).unwrap();
        sys.write(write, b"x").await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:IN");
        sys.write(write, b"y").await.unwrap();
        sys.close(write).await.unwrap();
        // Not even a hang-up.
        assert_eq!(sys.epoll_now(ep).await, "");
        sys.epoll_modify(ep, read, IN | EPOLLONESHOT, 2).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "2:IN|HUP");
    });
}

#[test]
fn ready_items_take_turns() {
    check(|sys| async move {
        let ep = epoll(&sys);
        let fds: Vec<Fd> = (0..3).map(|_| sys.eventfd()).collect();
        for (data, fd) in fds.iter().enumerate() {
            sys.epoll_add(ep, *fd, IN, data as u64).unwrap();
        }
        for index in [2, 0, 1] {
            signal(&sys, fds[index]).await;
        }
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(sys.epoll_wait(ep, 2, None).await.unwrap());
        }
        assert_eq!(turns, ["2:IN 0:IN", "1:IN 2:IN", "0:IN 1:IN", "2:IN 0:IN"]);
    });
}

#[test]
fn a_wait_ends_by_an_event_or_at_its_timeout() {
    let said = check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        sys.epoll_add(ep, fd, IN, 1).unwrap();
        sys.spawn(move |sys| async move {
            sys.sleep(millis(30)).await;
            signal(&sys, fd).await;
        });
        sys.say(format!("timeout [{}]", sys.epoll_wait(ep, 8, Some(millis(20))).await.unwrap()));
        sys.say(format!("event [{}]", sys.epoll_wait(ep, 8, Some(millis(20))).await.unwrap()));
    });
    insta::assert_snapshot!(said, @"
    0.020000s timeout []
    0.030000s event [1:IN]
    ");
}

#[test]
fn an_item_is_a_number_and_a_description() {
    check(|sys| async move {
        let (ep, one) = (epoll(&sys), sys.eventfd());
        let other = sys.k(|kernel| kernel.dup(one, true)).unwrap();
        sys.epoll_add(ep, one, IN, 1).unwrap();
        // The duplicate is another item of the same description.
        assert_eq!(sys.epoll_delete(ep, other), Err(Errno::ENOENT));
        sys.epoll_add(ep, other, IN, 2).unwrap();
        signal(&sys, one).await;
        // Whoever began to watch last is told first.
        assert_eq!(sys.epoll_now(ep).await, "2:IN 1:IN");
        sys.epoll_delete(ep, other).unwrap();
        // Closing the number that was registered leaves it registered while the description lives.
        sys.close(one).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:IN");
        assert_eq!(sys.epoll_delete(ep, one), Err(Errno::EBADF));
        // The number may be used again, for another item.
        let again = sys.eventfd();
        assert_eq!(again, one);
        sys.epoll_add(ep, again, IN, 3).unwrap();
        signal(&sys, again).await;
        assert_eq!(sys.epoll_now(ep).await, "1:IN 3:IN");
        // The description's end takes its item along.
        sys.close(other).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "3:IN");
    });
}

#[test]
fn a_duplicate_of_an_epoll_instance_is_the_same_instance() {
    check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        let twin = sys.k(|kernel| kernel.dup(ep, true)).unwrap();
        sys.epoll_add(ep, fd, IN | EPOLLET, 1).unwrap();
        signal(&sys, fd).await;
        assert_eq!(sys.epoll_now(twin).await, "1:IN");
        assert_eq!(sys.epoll_now(ep).await, "");
        sys.close(ep).await.unwrap();
        signal(&sys, fd).await;
        assert_eq!(sys.epoll_now(twin).await, "1:IN");
    });
}

#[test]
fn an_epoll_instance_can_be_watched() {
    check(|sys| async move {
        let (outer, inner, fd) = (epoll(&sys), epoll(&sys), sys.eventfd());
        sys.epoll_add(inner, fd, IN, 1).unwrap();
        sys.epoll_add(outer, inner, IN, 2).unwrap();
        assert_eq!(sys.epoll_now(outer).await, "");
        let waiter = sys.spawn(move |sys| async move {
            assert_eq!(sys.epoll_wait(outer, 8, None).await.unwrap(), "2:IN");
            assert_eq!(sys.epoll_wait(inner, 8, None).await.unwrap(), "1:IN");
        });
        sys.sleep(millis(1)).await;
        signal(&sys, fd).await;
        sys.join(waiter).await;
        assert_eq!(sys.poll(&[(inner, IN)], None).await, (1, "IN".to_owned()));
        clear(&sys, fd).await;
        assert_eq!(sys.epoll_now(outer).await, "");
        assert_eq!(sys.poll(&[(inner, IN)], Some(millis(1))).await.0, 0);
        sys.close(inner).await.unwrap();
        assert_eq!(sys.epoll_now(outer).await, "");
    });
}

#[test]
fn mistakes_have_the_errno_of_linux() {
    check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        let random = sys.k(|kernel| kernel.open_random(true)).unwrap();
        let closed = Fd(FD_BASE + 99);
        sys.epoll_add(ep, fd, IN, 1).unwrap();
        assert_eq!(sys.epoll_add(ep, fd, IN, 1), Err(Errno::EEXIST));
        assert_eq!(sys.epoll_add(closed, fd, IN, 1), Err(Errno::EBADF));
        assert_eq!(sys.epoll_add(ep, closed, IN, 1), Err(Errno::EBADF));
        assert_eq!(sys.epoll_add(fd, ep, IN, 1), Err(Errno::EINVAL));
        assert_eq!(sys.epoll_add(ep, ep, IN, 1), Err(Errno::EINVAL));
        assert_eq!(sys.epoll_add(ep, random, IN, 1), Err(Errno::EPERM));
        sys.epoll_delete(ep, fd).unwrap();
        assert_eq!(sys.epoll_delete(ep, fd), Err(Errno::ENOENT));
        assert_eq!(sys.epoll_modify(ep, fd, IN, 1), Err(Errno::ENOENT));
        assert_eq!(sys.epoll_wait(ep, 0, None).await, Err(Errno::EINVAL));
        assert_eq!(sys.epoll_wait(fd, 1, None).await, Err(Errno::EINVAL));
        assert_eq!(sys.epoll_wait(closed, 1, None).await, Err(Errno::EBADF));
        assert_eq!(sys.read(ep, 8).await, Err(Errno::EINVAL));
        // EPOLLEXCLUSIVE: at EPOLL_CTL_ADD only, and not on an epoll instance.
        sys.epoll_add(ep, fd, IN | EPOLLEXCLUSIVE, 1).unwrap();
        assert_eq!(sys.epoll_modify(ep, fd, IN | EPOLLEXCLUSIVE, 1), Err(Errno::EINVAL));
        let other = epoll(&sys);
        assert_eq!(sys.epoll_add(ep, other, IN | EPOLLEXCLUSIVE, 1), Err(Errno::EINVAL));
    });
}

#[test]
fn instances_cannot_watch_each_other_in_a_ring_or_too_deep() {
    check(|sys| async move {
        let chain: Vec<Fd> = (0..6).map(|_| epoll(&sys)).collect();
        for pair in chain.windows(2).take(4) {
            sys.epoll_add(pair[0], pair[1], IN, 1).unwrap();
        }
        assert_eq!(sys.epoll_add(chain[4], chain[0], IN, 1), Err(Errno::ELOOP));
        assert_eq!(sys.epoll_add(chain[1], chain[0], IN, 1), Err(Errno::ELOOP));
        assert_eq!(sys.epoll_add(chain[4], chain[5], IN, 1), Err(Errno::ELOOP));
    });
}

#[test]
fn hang_ups_of_a_pair_come_unasked() {
    check(|sys| async move {
        let ep = epoll(&sys);
        let (one, other) = sys.k(|kernel| kernel.socketpair(SocketType::UnixStream, true, true)).unwrap();
        sys.epoll_add(ep, one, IN | OUT | RDHUP | EPOLLET, 1).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:OUT");
        sys.k(|kernel| kernel.shutdown(other, halfopen_netstack::socket::Shutdown::Write)).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:IN|OUT|RDHUP");
        sys.close(other).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:IN|OUT|HUP|RDHUP");
        sys.epoll_modify(ep, one, 0, 1).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:HUP");
    });
}

#[test]
fn every_thread_that_waits_gets_its_chance() {
    let said = check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        sys.epoll_add(ep, fd, IN | EPOLLET, 1).unwrap();
        let wait = |name| {
            sys.spawn(move |sys| async move {
                let events = sys.epoll_wait(ep, 8, None).await.unwrap();
                sys.say(format!("{name} {events}"));
            })
        };
        let threads = [wait("a"), wait("b")];
        for _ in 0..2 {
            sys.sleep(millis(1)).await;
            signal(&sys, fd).await;
        }
        for thread in threads {
            sys.join(thread).await;
        }
    });
    insta::assert_snapshot!(said, @"
    0.001000s a 1:IN
    0.002000s b 1:IN
    ");
}

#[test]
fn poll_tells_all_that_hold() {
    check(|sys| async move {
        let (read, write) = sys.k(|kernel| kernel.pipe(true, true)).unwrap();
        let closed = Fd(FD_BASE + 99);
        let all = [(read, IN), (write, OUT), (closed, IN)];
        assert_eq!(sys.poll(&all, None).await, (2, "- OUT NVAL".to_owned()));
        sys.write(write, b"x").await.unwrap();
        assert_eq!(sys.poll(&all[..2], None).await, (2, "IN OUT".to_owned()));
        // A thread that polls several is woken by any, and leaves the others alone.
        sys.read(read, 1).await.unwrap();
        let event = sys.eventfd();
        let poller = sys.spawn(move |sys| async move {
            assert_eq!(sys.poll(&[(read, IN), (event, IN)], Some(millis(9))).await, (1, "- IN".to_owned()));
        });
        sys.sleep(millis(1)).await;
        signal(&sys, event).await;
        sys.join(poller).await;
        let rdnorm = halfopen_kernel::POLLRDNORM;
        assert_eq!(sys.poll(&[(event, rdnorm)], None).await.0, 1);
    });
}

#[test]
fn delete_ignores_its_event() {
    check(|sys| async move {
        let (ep, fd) = (epoll(&sys), sys.eventfd());
        sys.epoll_add(ep, fd, IN, 1).unwrap();
        let event = EpollEvent { events: EPOLLEXCLUSIVE, data: 9 };
        assert_eq!(sys.k(|kernel| kernel.epoll_ctl(ep, EpollOp::Delete, fd, event)), Ok(()));
    });
}

#[test]
fn room_is_an_edge_where_there_was_none() {
    check(|sys| async move {
        let (ep, (read, write)) = (epoll(&sys), sys.k(|kernel| kernel.pipe(true, true)).unwrap());
        sys.epoll_add(ep, write, OUT | EPOLLET, 1).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:OUT");
        sys.write(write, &[0; 10]).await.unwrap();
        sys.read(read, 10).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "");
        sys.write(write, &[0; halfopen_kernel::PIPE_CAPACITY_BYTES]).await.unwrap();
        sys.read(read, 5_000).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "1:OUT");
        // A Unix stream gives room back message by message.
        let (one, other) = sys.k(|kernel| kernel.socketpair(SocketType::UnixStream, true, true)).unwrap();
        sys.epoll_add(ep, one, OUT | EPOLLET, 2).unwrap();
        assert_eq!(sys.epoll_now(ep).await, "2:OUT");
        sys.write(one, &[0; 10]).await.unwrap();
        sys.read(other, 9).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "");
        sys.read(other, 1).await.unwrap();
        assert_eq!(sys.epoll_now(ep).await, "2:OUT");
    });
}
