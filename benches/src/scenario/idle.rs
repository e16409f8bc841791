//! Memory of connections that say nothing: sessions of a user with a box, bare connections on `/echo`,
//! and the same on the peer.

use crate::failure::Failure;
use crate::load::echo::Echo;
use crate::load::enrol::Enrol;
use crate::load::idle::Idle;
use crate::load::{Load, Plan, Who};
use crate::options::Options;
use crate::report::{Figure, Report};
use crate::servers::Server;
use crate::slab::{Part, Slabs};

const SCENARIO: &str = "idle";
const USERS: &str = "idle-";
const OPENING_MAX: usize = 128;
const SESSION_USER_BYTES_MAX: f64 = 600.0;

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let clients = options.idle_connections();
    let users = Who::Users(USERS.to_owned());

    let newim = Server::standalone(options)?;
    let enrol = plan(&newim, clients, users.clone())?;
    Load::open(enrol, Enrol::new(|client| format!("box-{client}")))?.close()?;
    // A new process: what the JOINs took in the store's caches is not the connections'.
    let newim = newim.restarted(options)?;
    let sessions = weigh(
        &newim,
        || Load::open(plan(&newim, clients, users)?, Idle),
        clients,
    )?;
    let what = format!("{clients} v2 sessions, one box each");
    let bytes = "bytes per connection";
    report.add(
        Figure::new(
            SCENARIO,
            format!("{what}: newim, user memory"),
            bytes,
            &[sessions.user_bytes],
        )
        .expecting_at_most(SESSION_USER_BYTES_MAX),
    );
    sessions.report_kernel(&what, report);
    drop(newim);

    for server in [Server::standalone(options)?, Server::echo_peer(options)?] {
        let weight = weigh(
            &server,
            || Load::open(plan(&server, clients, Who::Echo)?, Echo::new(clients, 1)),
            clients,
        )?;
        let what = format!("{clients} on /echo");
        let user = format!("{what}: {}, user memory", server.watched().name);
        report.add(Figure::new(SCENARIO, user, bytes, &[weight.user_bytes]));
        weight.report_kernel(&format!("{what} of {}", server.watched().name), report);
    }
    Ok(())
}

fn plan(server: &Server, clients: usize, who: Who) -> Result<Plan, Failure> {
    Ok(Plan {
        servers: vec![server.ws()?],
        clients,
        who,
        opening_max: OPENING_MAX,
    })
}

/// Per connection.
struct Weight {
    user_bytes: f64,
    /// Both ends of the connection; None where /proc/slabinfo cannot be read.
    kernel: Option<Vec<Part>>,
}

fn weigh(
    server: &Server,
    open: impl FnOnce() -> Result<Load, Failure>,
    clients: usize,
) -> Result<Weight, Failure> {
    let process = server.watched();
    process.await_quiet()?;
    let (user_before, kernel_before) = (process.anonymous_bytes()?, Slabs::read());
    let load = open()?;
    process.await_quiet()?;
    let (user_after, kernel_after) = (process.anonymous_bytes()?, Slabs::read());
    load.close()?;
    let user_bytes = user_after as f64 - user_before as f64;
    let kernel = kernel_before.zip(kernel_after);
    Ok(Weight {
        user_bytes: user_bytes / clients as f64,
        kernel: kernel.map(|(before, after)| after.since(&before, clients)),
    })
}

impl Weight {
    fn report_kernel(&self, what: &str, report: &mut Report) {
        let Some(parts) = &self.kernel else {
            return report.note(
                "idle: /proc/slabinfo cannot be read here: kernel memory is unknown (be root)",
            );
        };
        let all: f64 = parts.iter().map(|part| part.bytes).sum();
        let figure = format!("{what}: kernel, both ends");
        report.add(Figure::new(
            SCENARIO,
            figure,
            "bytes per connection",
            &[all],
        ));
        let mine = |part: &&Part| part.is_of_the_client_alone();
        let ports: f64 = parts.iter().filter(mine).map(|part| part.bytes).sum();
        let shown: Vec<String> = parts
            .iter()
            .map(|part| format!("{:.2} {} = {:.0} B", part.objects, part.cache, part.bytes))
            .collect();
        report.note(format!(
            "idle, {what}: kernel objects per connection, both ends: {}. Without the client's port ({ports:.0} B), \
             half is {:.0} B; the load's end is NewIM's engine, so for NewIM that is the server's end. The slabs are \
             the whole machine's.",
            shown.join(", "),
            (all - ports) / 2.0
        ));
    }
}
