"""pde.py and force_matching.py: they learn, captured as eagerly, and their truth is true."""

import force_matching
import pde
import pytest
import torch


@pytest.mark.parametrize(
    ("script", "arguments", "share"),
    [
        (pde, ("--steps", "200", "--points", "64"), 0.3),
        (force_matching, ("--steps", "60"), 0.5),
    ],
    ids=["pde", "force_matching"],
)
def test_it_learns_and_captured_is_eager_bit_for_bit(script, arguments, share, capsys):
    errors = script.main([*arguments, "--eager"])
    assert errors["captured"] == errors["eager"]
    assert errors["captured"] < share * errors["before"]
    *_, captured, eager = capsys.readouterr().out.splitlines()
    assert captured.startswith("captured: ")
    assert eager.startswith("eager: ")
    assert " ms a step, relative error" in captured


@pytest.mark.parametrize("script", [pde, force_matching])
def test_without_the_option_nothing_runs_eagerly(script, monkeypatch):
    made = []
    captured = script.captured

    def noted(loss, executor):
        made.append(captured(loss, executor=executor))
        return made[-1]

    monkeypatch.setattr(script, "captured", noted)
    assert script.main(["--steps", "3"]).keys() == {"before", "captured"}
    (loss,) = made
    assert [(graph.executor, graph.runs) for graph in loss.report().graphs] == [("replay", 2)]


def test_the_solution_solves_the_equation():
    points, known = (each.double() for each in pde.drawn_points(64, torch.Generator()))
    loss = pde.loss(pde.solution, points, known, pde.solution(known))
    assert loss < 1e-24
    assert pde.loss(lambda x: pde.solution(x) + 1e-3, points, known, pde.solution(known)) > 1e-7


def test_the_conditions_are_at_the_beginning_and_at_both_ends():
    points, known = pde.drawn_points(400, torch.Generator())
    assert (known[0::3, 1] == 0).all()
    assert (known[1::3, 0] == -1).all()
    assert (known[2::3, 0] == 1).all()
    for each in (points, known):
        assert (each >= torch.tensor([-1.0, 0.0])).all()
        assert (each <= 1).all()


def test_two_atoms_are_bound_by_one_at_a_distance_of_one(monkeypatch):
    monkeypatch.setattr(force_matching, "OTHERS", torch.tensor([[1], [0]]))
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.6, 0.8]], dtype=torch.float64)
    energies, forces = force_matching.energies_and_forces(force_matching.morse, positions[None])
    torch.testing.assert_close(energies, -torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(forces, torch.zeros_like(forces))
    _, (forces,) = force_matching.energies_and_forces(force_matching.morse, 1.1 * positions[None])
    pull = 6 * (1 - 2.718281828459045**-0.3) * 2.718281828459045**-0.3
    expected = pull * torch.stack([positions[1], -positions[1]])
    torch.testing.assert_close(forces, expected)


def test_the_network_knows_no_direction_and_no_order():
    torch.manual_seed(0)
    net = force_matching.MessagePassing().double()
    positions = force_matching.shaken(2, seed=0)[0].double()
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    for changed in (positions @ rotation, positions + 1, positions[:, torch.randperm(8)]):
        torch.testing.assert_close(net(changed), net(positions))
