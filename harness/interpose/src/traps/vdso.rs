//! The vDSO: functions that the kernel maps into every process, through which clocks can be read without a system call.
//! libc's own `clock_gettime` uses them, and some programs (rustix) find them themselves. Their first instructions are
//! replaced with a jump to functions of ours.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ops::Range;

use libc::{clockid_t, timespec, timeval};

use crate::abi::IntoRust;
use crate::calls::time;
use crate::symbols::real;
use crate::world;

#[cfg(target_arch = "x86_64")]
const PATCHES: &[(&CStr, *const ())] = &[
    (c"__vdso_clock_gettime", clock_gettime as *const ()),
    (c"__vdso_gettimeofday", gettimeofday as *const ()),
    (c"__vdso_clock_getres", clock_getres as *const ()),
    (c"__vdso_time", time_of_day as *const ()),
    (c"__vdso_getrandom", getrandom as *const ()),
];

#[cfg(target_arch = "aarch64")]
const PATCHES: &[(&CStr, *const ())] = &[
    (c"__kernel_clock_gettime", clock_gettime as *const ()),
    (c"__kernel_gettimeofday", gettimeofday as *const ()),
    (c"__kernel_clock_getres", clock_getres as *const ()),
    (c"__kernel_getrandom", getrandom as *const ()),
];

/// A jump to any address, with the address in it.
#[cfg(target_arch = "x86_64")]
fn jump(target: u64) -> Vec<u8> {
    // movabs rax, target; jmp rax. A function's caller expects nothing of rax.
    [&[0x48, 0xb8], &target.to_le_bytes()[..], &[0xff, 0xe0]].concat()
}

#[cfg(target_arch = "aarch64")]
fn jump(target: u64) -> Vec<u8> {
    // ldr x16, #8; br x16; the address. A function's caller expects nothing of x16.
    [&0x5800_0050u32.to_le_bytes()[..], &0xd61f_0200u32.to_le_bytes(), &target.to_le_bytes()].concat()
}

/// Replaces what there is. Where the kernel does not let us (a sealed vDSO), a program that looks the vDSO up itself
/// reads real clocks.
pub(crate) fn patch() {
    // SAFETY: a number or 0.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    if base == 0 {
        return;
    }
    // SAFETY: the kernel says that the vDSO, a whole and valid ELF image, lies there for the life of the process.
    let image = unsafe { Image::read(base) };
    if let (Some(image), Some(mapping)) = (image, mapping(base)) {
        overwrite(&image, mapping);
    }
}

/// The whole mapping that begins at `base`: the kernel does not let one change a part of it (EINVAL).
fn mapping(base: usize) -> Option<Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let ranges = maps.lines().filter_map(|line| line.split_once(' ')?.0.split_once('-'));
    let mut ranges = ranges.filter_map(|(start, end)| Some(number(start)?..number(end)?));
    ranges.find(|range| range.start == base)
}

fn overwrite(image: &Image, mapping: Range<usize>) {
    let (start, len) = (mapping.start as *mut c_void, mapping.len());
    // SAFETY: the vDSO, which is this process's own copy-on-write mapping. If it cannot be made writable, it stays as
    // it is.
    if unsafe { libc::mprotect(start, len, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) } != 0 {
        return;
    }
    for (name, target) in PATCHES {
        if let Some(function) = image.function(name) {
            let code = jump(*target as u64);
            assert!(mapping.contains(&function) && mapping.contains(&(function + code.len())));
            // SAFETY: within the mapping, which can be written to; no simulated thread runs yet, and the driver is not
            // inside of one of these functions.
            unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), function as *mut u8, code.len()) };
            // SAFETY: what was just written.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                __clear_cache(function as *mut c_char, (function + code.len()) as *mut c_char);
            }
        }
    }
    // SAFETY: as above.
    unsafe { libc::mprotect(start, len, libc::PROT_READ | libc::PROT_EXEC) };
}

#[cfg(target_arch = "aarch64")]
unsafe extern "C" {
    /// Of the compiler's runtime: on this platform instructions are cached apart from data.
    fn __clear_cache(start: *mut c_char, end: *mut c_char);
}

/// As much of an ELF image as is needed to find a function by name.
struct Image {
    /// What has to be added to the addresses in it.
    offset: usize,
    symbols: *const libc::Elf64_Sym,
    names: *const c_char,
    count: usize,
}

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

impl Image {
    /// # Safety
    /// A valid ELF image for this platform lies at `base` for the life of the process.
    unsafe fn read(base: usize) -> Option<Image> {
        // SAFETY: the headers of a valid image lie where its first header says.
        let headers = unsafe {
            let header = &*(base as *const libc::Elf64_Ehdr);
            let first = (base + header.e_phoff as usize) as *const libc::Elf64_Phdr;
            std::slice::from_raw_parts(first, usize::from(header.e_phnum))
        };
        let load = headers.iter().find(|header| header.p_type == libc::PT_LOAD)?;
        let dynamic = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let offset = base.wrapping_add(load.p_offset as usize).wrapping_sub(load.p_vaddr as usize);
        let entries = (offset.wrapping_add(dynamic.p_vaddr as usize)) as *const [u64; 2];
        let entry = |tag: u64| {
            (0..dynamic.p_memsz as usize / 16)
                // SAFETY: the dynamic section has so many pairs of tag and value.
                .map(|index| unsafe { *entries.add(index) })
                .find(|[found, _]| *found == tag)
                .map(|[_, value]| offset.wrapping_add(value as usize))
        };
        let symbols = entry(DT_SYMTAB)? as *const libc::Elf64_Sym;
        let names = entry(DT_STRTAB)? as *const c_char;
        let count = match (entry(DT_HASH), entry(DT_GNU_HASH)) {
            // SAFETY: the second word of a hash table is the number of symbols.
            (Some(table), _) => unsafe { *(table as *const u32).add(1) as usize },
            // SAFETY: a valid GNU hash table.
            (None, Some(table)) => unsafe { gnu_count(table as *const u32) },
            (None, None) => return None,
        };
        Some(Image { offset, symbols, names, count })
    }

    fn function(&self, name: &CStr) -> Option<usize> {
        (0..self.count).find_map(|index| {
            // SAFETY: the image has so many symbols, whose names are NUL-terminated (see `read`).
            let (symbol, found) = unsafe {
                let symbol = &*self.symbols.add(index);
                (symbol, CStr::from_ptr(self.names.add(symbol.st_name as usize)))
            };
            (symbol.st_shndx != 0 && found == name).then(|| self.offset.wrapping_add(symbol.st_value as usize))
        })
    }
}

/// The number of symbols: a GNU hash table has it only as the end of its last chain.
///
/// # Safety
/// A valid GNU hash table lies at `table`.
unsafe fn gnu_count(table: *const u32) -> usize {
    // SAFETY: four words of header, the bloom filter in words of 64 bits, the buckets, then the chains.
    unsafe {
        let [buckets_len, first, bloom_len, _] = *table.cast::<[u32; 4]>();
        let buckets = table.add(4 + 2 * bloom_len as usize);
        let chains = buckets.add(buckets_len as usize);
        let last = (0..buckets_len as usize).map(|index| *buckets.add(index)).max().unwrap_or(0);
        if last < first {
            return first as usize;
        }
        let mut index = last;
        while *chains.add((index - first) as usize) & 1 == 0 {
            index += 1;
        }
        index as usize + 1
    }
}

/// What the functions of a vDSO say: 0 or the negative error number.
fn answer(result: Result<(), halfopen_core::Errno>) -> c_int {
    result.map_or_else(|errno| -errno.0, |()| 0)
}

/// Asks the kernel itself.
fn real_call(number: c_long, a: usize, b: usize) -> c_int {
    let errno_before = crate::abi::errno();
    // SAFETY: one of the calls below with its own arguments.
    let code = unsafe { real::syscall(number, a, b, 0, 0, 0, 0) };
    let result = if code == 0 { 0 } else { -crate::abi::errno().0 };
    crate::abi::set_errno(errno_before);
    result
}

unsafe extern "C" fn clock_gettime(clock: clockid_t, now: *mut timespec) -> c_int {
    if !world::intercepts() {
        return real_call(libc::SYS_clock_gettime, clock as usize, now as usize);
    }
    // SAFETY: the caller keeps the contract of clock_gettime.
    answer(time::clock_gettime(clock, unsafe { now.into_rust() }))
}

unsafe extern "C" fn clock_getres(clock: clockid_t, resolution: *mut timespec) -> c_int {
    if !world::intercepts() {
        return real_call(libc::SYS_clock_getres, clock as usize, resolution as usize);
    }
    // SAFETY: the caller keeps the contract of clock_getres.
    answer(time::clock_getres(clock, unsafe { resolution.into_rust() }))
}

unsafe extern "C" fn gettimeofday(now: *mut timeval, zone: *mut c_void) -> c_int {
    if !world::intercepts() {
        return real_call(libc::SYS_gettimeofday, now as usize, zone as usize);
    }
    // SAFETY: the caller keeps the contract of gettimeofday.
    answer(time::gettimeofday(unsafe { now.into_rust() }))
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn time_of_day(now: *mut libc::time_t) -> libc::time_t {
    if !world::intercepts() {
        // SAFETY: the caller keeps the contract of time.
        return unsafe { real::syscall(libc::SYS_time, now as usize, 0, 0, 0, 0, 0) };
    }
    // SAFETY: as above.
    time::time(unsafe { now.into_rust() })
}

/// A vDSO without it: callers make the system call then.
unsafe extern "C" fn getrandom() -> isize {
    -(libc::ENOSYS as isize)
}
