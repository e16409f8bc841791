//! The plan file of `mixed`: TOML with phases, read into a raw shape and checked as a whole before any
//! connection opens. Main thread.
//!
//! ```toml
//! members = 10          # of each group box
//! senders = 1           # of each box's members
//! [[phase]]
//! kind = "ramp"         # only as the first phase; connections per second
//! per_s = 5000
//! [[phase]]
//! kind = "hold"
//! duration = "10s"
//! p2p_per_s = 500       # rates stay until a later phase changes them
//! group_per_s = 50
//! [[phase]]
//! kind = "fault"        # with one of drop, churn_per_s and slow
//! duration = "5s"
//! drop = { percent = 30, per_s = 0 }
//! [[phase]]
//! kind = "recover"      # ends as soon as everyone is back
//! duration = "20s"
//! ```

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::cli::parse_time;
use crate::plan::{Fault, Pace, Phase};

#[derive(Debug)]
pub enum PlanFileError {
    Read {
        path: String,
        error: std::io::Error,
    },
    /// The parser's words, with line and column.
    Parse {
        path: String,
        error: String,
    },
    Wrong {
        path: String,
        phase: usize,
        why: String,
    },
}

impl fmt::Display for PlanFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanFileError::Read { path, error } => write!(f, "{path}: {error}"),
            PlanFileError::Parse { path, error } => write!(f, "{path}: {error}"),
            PlanFileError::Wrong { path, phase, why } => {
                write!(f, "{path}: phase {phase}: {why}")
            }
        }
    }
}

impl std::error::Error for PlanFileError {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    #[serde(default = "ten")]
    pub members: u32,
    #[serde(default = "one")]
    pub senders: u32,
    /// Number of pairs that talk. None: all.
    pub pairs: Option<u32>,
    #[serde(rename = "phase")]
    raw_phases: Vec<RawPhase>,
    #[serde(skip)]
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPhase {
    kind: Kind,
    name: Option<String>,
    duration: Option<String>,
    measured: Option<bool>,
    /// Connections per second of a ramp.
    per_s: Option<f64>,
    p2p_per_s: Option<f64>,
    group_per_s: Option<f64>,
    drop: Option<RawDrop>,
    churn_per_s: Option<f64>,
    slow: Option<RawSlow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ramp,
    Hold,
    Fault,
    Recover,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDrop {
    percent: f64,
    #[serde(default)]
    per_s: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSlow {
    percent: f64,
    #[serde(default)]
    bytes_per_s: u32,
}

fn ten() -> u32 {
    10
}

fn one() -> u32 {
    1
}

impl PlanFile {
    pub fn read(path: &Path) -> Result<PlanFile, PlanFileError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| PlanFileError::Read {
            path: name.clone(),
            error,
        })?;
        PlanFile::parse(&text, &name)
    }

    fn parse(text: &str, path: &str) -> Result<PlanFile, PlanFileError> {
        let file: PlanFile = toml::from_str(text).map_err(|error| PlanFileError::Parse {
            path: path.to_owned(),
            error: error.to_string(),
        })?;
        let file = PlanFile {
            path: path.to_owned(),
            ..file
        };
        if file.members == 0 {
            return Err(file.wrong(0, "members must be at least 1"));
        }
        file.phases()?;
        Ok(file)
    }

    /// Connections per second, where the plan begins with a ramp that gives them.
    pub fn ramp_per_s(&self) -> Option<f64> {
        self.raw_phases.first().and_then(|phase| phase.per_s)
    }

    /// The phases after the ramp; paces are those of P2P and of the groups, in this order.
    pub fn phases(&self) -> Result<Vec<Phase>, PlanFileError> {
        let mut phases = Vec::new();
        let (mut p2p, mut group) = (0.0, 0.0);
        for (index, raw) in self.raw_phases.iter().enumerate() {
            self.check(index, raw)?;
            p2p = raw.p2p_per_s.unwrap_or(p2p);
            group = raw.group_per_s.unwrap_or(group);
            if raw.kind == Kind::Ramp {
                continue;
            }
            let duration = raw.duration.as_deref().map(parse_time).transpose();
            let duration = duration.map_err(|why| self.wrong(index, &why))?;
            phases.push(Phase {
                name: raw
                    .name
                    .clone()
                    .unwrap_or_else(|| raw.kind.name().to_owned()),
                duration: duration.unwrap_or(Duration::from_secs(10)),
                is_measured: raw.measured.unwrap_or(true),
                paces: [p2p, group].map(|per_s| Pace::Open { per_s }).into(),
                fault: raw.fault(),
                until_settled: raw.kind == Kind::Recover,
            });
        }
        if phases.is_empty() {
            return Err(self.wrong(0, "the plan has no phase but a ramp; add a hold phase"));
        }
        Ok(phases)
    }

    fn check(&self, index: usize, raw: &RawPhase) -> Result<(), PlanFileError> {
        let wrong = |why: &str| Err(self.wrong(index, why));
        let faults = [
            raw.drop.is_some(),
            raw.churn_per_s.is_some(),
            raw.slow.is_some(),
        ];
        let faults = faults.iter().filter(|is_there| **is_there).count();
        if raw.kind == Kind::Ramp && index > 0 {
            return wrong("a ramp must be the first phase");
        }
        if raw.kind != Kind::Ramp && raw.per_s.is_some() {
            return wrong(
                "per_s belongs to a ramp; rates of messages are p2p_per_s and group_per_s",
            );
        }
        if (raw.kind == Kind::Fault) != (faults == 1) {
            return wrong(
                "a fault phase has exactly one of drop, churn_per_s and slow, and other phases have none",
            );
        }
        let rates = [raw.per_s, raw.p2p_per_s, raw.group_per_s, raw.churn_per_s];
        if rates
            .iter()
            .flatten()
            .any(|rate| !(0.0..=1e9).contains(rate))
        {
            return wrong("a rate must be from 0 to 1e9 per second");
        }
        let percents = [
            raw.drop.as_ref().map(|drop| drop.percent),
            raw.slow.as_ref().map(|slow| slow.percent),
        ];
        if percents
            .iter()
            .flatten()
            .any(|share| !(0.0..=100.0).contains(share))
        {
            return wrong("a share must be from 0 to 100 percent");
        }
        Ok(())
    }

    fn wrong(&self, index: usize, why: &str) -> PlanFileError {
        PlanFileError::Wrong {
            path: self.path.clone(),
            phase: index + 1,
            why: why.to_owned(),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ramp => "ramp",
            Kind::Hold => "hold",
            Kind::Fault => "fault",
            Kind::Recover => "recover",
        }
    }
}

impl RawPhase {
    fn fault(&self) -> Option<Fault> {
        let drop = self.drop.as_ref().map(|drop| Fault::Drop {
            percent: drop.percent,
            per_s: drop.per_s,
        });
        let churn = self.churn_per_s.map(|per_s| Fault::Churn { per_s });
        let slow = self.slow.as_ref().map(|slow| Fault::Slow {
            percent: slow.percent,
            bytes_per_s: slow.bytes_per_s,
        });
        drop.or(churn).or(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(text: &str) -> String {
        PlanFile::parse(text, "plan.toml").unwrap_err().to_string()
    }

    #[test]
    fn phases_follow_one_another_and_rates_stay() {
        let text = "members = 5\n[[phase]]\nkind='ramp'\nper_s=100\n[[phase]]\nkind='hold'\nduration='2s'\n\
                    p2p_per_s=50\n[[phase]]\nkind='fault'\ndrop={percent=30}\n[[phase]]\nkind='recover'";
        let file = PlanFile::parse(text, "plan.toml").unwrap();
        let phases = file.phases().unwrap();
        let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["hold", "fault", "recover"]);
        assert!(
            phases
                .iter()
                .all(|phase| phase.paces[0] == Pace::Open { per_s: 50.0 })
        );
        let drop = Fault::Drop {
            percent: 30.0,
            per_s: 0.0,
        };
        assert_eq!(
            (phases[1].fault, phases[2].until_settled),
            (Some(drop), true)
        );
        assert_eq!((file.ramp_per_s(), file.members), (Some(100.0), 5));
    }

    #[test]
    fn faults_of_a_plan_are_named_with_their_place() {
        let unknown = fault_of("memers = 5\n[[phase]]\nkind='hold'");
        assert!(
            unknown.contains("memers") && unknown.contains("line 1"),
            "{unknown}"
        );
        assert!(
            fault_of("[[phase]]\nkind='fault'")
                .contains("phase 1: a fault phase has exactly one of")
        );
        assert!(fault_of("[[phase]]\nkind='hold'\n[[phase]]\nkind='ramp'").contains("phase 2"));
        assert!(fault_of("[[phase]]\nkind='hold'\nduration='x'").contains("not a time"));
        assert!(fault_of("[[phase]]\nkind='ramp'").contains("no phase but a ramp"));
        assert!(fault_of("[[phase]]\nkind='hold'\np2p_per_s=-1").contains("a rate"));
    }
}
