//! The search list of resolv.conf: which names are asked in which order, and which failure the caller gets in the end
//! (`__res_context_search` and `__res_context_query` of glibc 2.36).

use halfopen_core::{Errno, SimDuration};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::ResolverSystem;
use super::answer::negative_ttl;
use super::exchange::{NoAnswer, Question, exchange};
use crate::ResolverConfig;

/// What `options ndots:` can reach (RES_MAXNDOTS of `<resolv.h>`).
const NDOTS_MAX: usize = 15;

/// `h_errno`: why a name has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HostError {
    /// HOST_NOT_FOUND.
    NotFound,
    /// TRY_AGAIN.
    TryAgain,
    /// NO_RECOVERY.
    NoRecovery,
    /// NO_DATA.
    NoData,
    /// NETDB_INTERNAL: no socket could be made.
    Internal(Errno),
}

/// A search that found nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotFound {
    pub(super) error: HostError,
    /// Whether the last name that was asked for got no answer at all (by glibc: one that counts).
    pub(super) unanswered: bool,
    /// How long a negative answer may be kept.
    pub(super) ttl: Option<SimDuration>,
}

/// A search in progress.
struct Search<'a> {
    system: &'a mut dyn ResolverSystem,
    config: &'a ResolverConfig,
    types: &'a [RecordType],
    /// The response code of the last name's first answer, failures included: what lies in glibc's answer buffer.
    first_code: Option<ResponseCode>,
    /// How the last exchange failed, if it did.
    no_answer: Option<NoAnswer>,
    /// The least time that a negative answer on the way may be kept.
    negative_ttl: Option<SimDuration>,
}

/// Asks for the records of `types` of `name` by the rules of the search list. The answers, in order of arrival: one of
/// them at least has records.
pub(super) fn search(
    system: &mut dyn ResolverSystem,
    config: &ResolverConfig,
    name: &str,
    types: &[RecordType],
) -> Result<Vec<Message>, NotFound> {
    if !is_host_name(name) {
        return Err(NotFound { error: HostError::NoRecovery, unanswered: false, ttl: None });
    }
    let mut search = Search { system, config, types, first_code: None, no_answer: None, negative_ttl: None };
    search.run(name).map_err(|error| {
        let negative = matches!(error, HostError::NotFound | HostError::NoData);
        NotFound { error, unanswered: search.no_answer.is_some(), ttl: search.negative_ttl.filter(|_| negative) }
    })
}

impl Search<'_> {
    fn run(&mut self, name: &str) -> Result<Vec<Message>, HostError> {
        let dots = name.matches('.').count();
        let trailing_dot = name.ends_with('.');
        let mut as_is = None;
        if dots >= (self.config.ndots as usize).min(NDOTS_MAX) || trailing_dot {
            match self.query(name) {
                Ok(answers) => return Ok(answers),
                Err(error) if trailing_dot => return Err(error),
                Err(error) => as_is = Some(error),
            }
        }
        let mut last = as_is.unwrap_or(HostError::NotFound);
        let mut no_data = false;
        let mut server_failed = false;
        let mut root_on_list = false;
        let list: &[String] = if trailing_dot { &[] } else { &self.config.search };
        for domain in list {
            let domain = domain.strip_prefix('.').unwrap_or(domain);
            root_on_list |= domain.is_empty();
            last = match self.query(&format!("{name}.{domain}")) {
                Ok(answers) => return Ok(answers),
                Err(error) => error,
            };
            if self.no_answer == Some(NoAnswer::Refused) {
                return Err(HostError::TryAgain);
            }
            match last {
                HostError::NoData => no_data = true,
                HostError::NotFound => {}
                HostError::TryAgain if self.first_code == Some(ResponseCode::ServFail) => server_failed = true,
                // A time-out or anything else ends the list, but not the search.
                _ => break,
            }
        }
        if as_is.is_none() && !root_on_list {
            last = match self.query(name) {
                Ok(answers) => return Ok(answers),
                Err(error) => error,
            };
        }
        Err(match as_is {
            Some(error) => error,
            None if no_data => HostError::NoData,
            None if server_failed => HostError::TryAgain,
            None => last,
        })
    }

    /// One name, as it is.
    fn query(&mut self, name: &str) -> Result<Vec<Message>, HostError> {
        // Byte by byte: domains of the search list may hold anything.
        let labels = name.strip_suffix('.').unwrap_or(name).split('.').map(str::as_bytes);
        let mut fqdn = Name::from_labels(labels).map_err(|_| HostError::NoRecovery)?;
        fqdn.set_fqdn(true);
        let mut questions: Vec<Question> = Vec::with_capacity(self.types.len());
        for record_type in self.types {
            let drawn = self.system.random_u16();
            // Two open queries must not share an identity.
            let taken = questions.iter().any(|question| question.id() == drawn);
            questions.push(Question::new(drawn.wrapping_add(u16::from(taken)), &fqdn, *record_type));
        }
        let (result, first_code) = exchange(self.system, self.config, &questions);
        self.first_code = first_code;
        self.no_answer = result.as_ref().err().copied();
        let answers = match result {
            Ok(answers) => answers,
            Err(NoAnswer::NoSocket(errno @ (Errno::EMFILE | Errno::ENFILE))) => {
                return Err(HostError::Internal(errno));
            }
            Err(_) => return Err(HostError::TryAgain),
        };
        match outcome(&answers) {
            Ok(()) => Ok(answers),
            Err(error) => {
                for ttl in answers.iter().filter_map(negative_ttl) {
                    self.negative_ttl = Some(self.negative_ttl.map_or(ttl, |least| least.min(ttl)));
                }
                Err(error)
            }
        }
    }
}

/// What glibc takes for a host's name, and asks for (`res_hnok`): letters, digits,
/// hyphens (not first) and underscores.
fn is_host_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(fits)
}

/// Whether one of the answers has records; if not, what the first one (or the second, if the first merely has no data)
/// says about the name.
fn outcome(answers: &[Message]) -> Result<(), HostError> {
    let code = |answer: &Message| answer.metadata.response_code;
    if answers.iter().any(|answer| code(answer) == ResponseCode::NoError && !answer.answers.is_empty()) {
        return Ok(());
    }
    let telling = answers.iter().find(|answer| code(answer) != ResponseCode::NoError);
    Err(match telling.map(code) {
        None => HostError::NoData,
        Some(ResponseCode::NXDomain) => HostError::NotFound,
        Some(ResponseCode::ServFail) => HostError::TryAgain,
        Some(_) => HostError::NoRecovery,
    })
}
