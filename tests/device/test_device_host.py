"""Several services side by side. Portable: runs on CPython and MicroPython."""

import sys
import unittest

from coap import RequestError
from rig import Code, Rig


def fail(service):
    raise ValueError("broken")


class HostTest(unittest.TestCase):
    def setUp(self):
        self.calls = []
        self.code = {}
        self.rig = Rig(self.code)

    def tearDown(self):
        self.rig.close()

    def note(self, name):
        def function(service, *arguments):
            self.calls.append((name,) + arguments)

        return function

    def deploy(self, digest="d", header=None, **functions):
        self.code[digest] = Code(**functions)
        return self.rig.deploy(digest, **(header or {}))

    def phase(self, instance):
        return self.rig.value(instance, 27512)


class TestLife(HostTest):
    def test_setup_once_then_loop_at_its_interval(self):
        def setup(service):
            service.interval_ms = 400
            self.calls.append(("setup",))

        instance = self.deploy(setup=setup, loop=self.note("loop"))
        self.assertEqual(self.phase(instance), "starting")
        self.rig.step()
        self.assertEqual(self.phase(instance), "running")
        for _ in range(12):
            self.rig.step(100)
        self.assertEqual([name for (name,) in self.calls], ["setup", "loop", "loop", "loop", "loop"])

    def test_the_host_says_when_it_is_needed_next(self):
        self.assertIsNone(self.rig.step())
        self.deploy(loop=self.note("loop"))
        self.assertEqual(self.rig.step(), 0)
        self.assertEqual(self.rig.step(), 1000)
        self.assertEqual(self.rig.step(700), 1000)

    def test_a_loop_that_is_late_is_not_called_twice_for_it(self):
        self.deploy(loop=self.note("loop"))
        self.rig.step()
        self.rig.step()
        self.rig.step(10500)
        self.assertEqual(len(self.calls), 2)
        self.rig.step(1)
        self.assertEqual(len(self.calls), 3)
        self.rig.step(10)
        self.assertEqual(len(self.calls), 3)

    def test_setup_alone_is_enough(self):
        instance = self.deploy(setup=self.note("setup"))
        self.assertIsNone(self.rig.step())
        self.assertEqual(self.phase(instance), "running")

    def test_a_service_without_either_is_none(self):
        instance = self.deploy(on_quit=self.note("quit"))
        self.rig.step()
        self.assertEqual(self.phase(instance), "crashed")
        self.assertIn("neither setup nor loop", self.rig.value(instance, 27514))

    def test_services_do_not_see_each_other(self):
        first = self.deploy("a", setup=self.note("a"), loop=self.note("a"))
        second = self.deploy("b", setup=fail)
        self.rig.step()
        self.assertEqual((self.phase(first), self.phase(second)), ("running", "crashed"))
        self.rig.step()
        self.assertEqual(self.calls, [("a",), ("a",)])

    def test_quitting(self):
        instance = self.deploy(setup=self.note("setup"), on_quit=self.note("quit"))
        self.rig.step()
        self.rig.software.execute(instance, 11)
        self.assertEqual(self.calls, [("setup",), ("quit",)])
        self.assertEqual((self.phase(instance), self.rig.value(instance, 12)), ("stopped", False))
        self.assertEqual(self.rig.host.runners, {})
        self.rig.software.execute(instance, 10)
        self.rig.step()
        self.assertEqual(self.phase(instance), "running")

    def test_a_service_that_fails_to_quit_is_gone_all_the_same(self):
        instance = self.deploy(setup=self.note("setup"), on_quit=fail)
        self.rig.step()
        self.rig.software.delete(instance)
        self.assertEqual(self.rig.host.runners, {})
        self.assertEqual(self.rig.software.instances(), [])


class TestFaults(HostTest):
    def crash(self, failure):
        instance = self.deploy(setup=failure)
        self.rig.step()
        self.assertEqual(self.phase(instance), "crashed")
        return self.rig.value(instance, 27514)

    def test_an_exception_is_reported_with_its_place(self):
        error = self.crash(fail)
        self.assertIn("ValueError: broken", error)
        self.assertIn("line", error)

    def test_running_out_of_memory(self):
        def exhaust(service):
            raise MemoryError

        self.assertIn("MemoryError", self.crash(exhaust))

    def test_recursion_without_end(self):
        def recurse(service):
            recurse(service)

        self.assertIn("recursion", self.crash(recurse))

    def test_leaving_the_program(self):
        self.assertIn("SystemExit", self.crash(lambda service: sys.exit(1)))

    def test_an_exception_that_cannot_be_shown(self):
        class OddError(Exception):
            def __str__(self):
                raise ValueError

        def odd(service):
            raise OddError

        self.assertIn("Odd", self.crash(odd))

    def test_an_interval_that_is_no_number(self):
        def setup(service):
            service.interval_ms = "soon"

        instance = self.deploy(setup=setup, loop=self.note("loop"))
        self.rig.step()
        self.rig.step()
        self.assertEqual(self.phase(instance), "crashed")
        self.assertIn("interval_ms", self.rig.value(instance, 27514))

    def test_it_is_started_again_with_growing_delays(self):
        instance = self.deploy(setup=fail)
        starts = []
        self.rig.step()
        for _ in range(10):
            due = self.rig.host.step()
            starts.append(due - self.rig.now)
            self.rig.now = due
            self.rig.step()
        self.assertEqual(starts, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000, 60000])
        self.assertEqual(self.rig.value(instance, 27513), 10)

    def test_the_delay_starts_anew_when_it_has_run_for_long(self):
        state = {"fail": True}

        def loop(service):
            if state["fail"]:
                raise OSError(5)

        instance = self.deploy(loop=loop)
        for _ in range(6):
            self.rig.step(60000)
        state["fail"] = False
        for _ in range(100):
            self.rig.step(1000)
        self.assertEqual(self.phase(instance), "running")
        state["fail"] = True
        self.assertEqual(self.rig.step(1000), self.rig.now + 1000)

    def test_activating_again_forgets_the_restarts(self):
        instance = self.deploy(setup=fail)
        self.rig.step()
        self.rig.step(1000)
        self.assertEqual(self.rig.value(instance, 27513), 1)
        self.rig.software.execute(instance, 11)
        self.assertIn("broken", self.rig.value(instance, 27514))
        self.rig.software.execute(instance, 10)
        self.assertEqual((self.rig.value(instance, 27513), self.rig.value(instance, 27514)), (0, ""))

    def test_too_little_memory_is_a_reason_to_wait(self):
        first = self.deploy("a", {"mem": 600000}, setup=self.note("a"))
        self.rig.host.memory_total = 1300000
        second = self.deploy("b", {"mem": 600000}, setup=self.note("b"))
        self.rig.host.memory_total = 1000000
        self.rig.step()
        self.assertEqual((self.phase(first), self.phase(second)), ("running", "crashed"))
        self.assertIn("out of memory", self.rig.value(second, 27514))
        self.rig.software.execute(first, 11)
        self.rig.step(1000)
        self.assertEqual(self.phase(second), "running")

    def test_the_largest_service_goes_when_the_device_has_no_memory_left(self):
        first = self.deploy("a", setup=self.note("a"))
        second = self.deploy("b", setup=self.note("b"))
        self.rig.step()
        self.rig.host.runners[first].memory = 2000
        self.rig.host.runners[second].memory = 1000
        self.rig.host.relieve()
        self.assertEqual((self.phase(first), self.phase(second)), ("crashed", "running"))
        self.assertIn("out of memory", self.rig.value(first, 27514))


class TestApi(HostTest):
    def test_what_a_service_is_told(self):
        seen = {}

        def setup(service):
            seen.update(name=service.name, version=service.version, env=service.env, interval=service.interval_ms)
            seen["sensor"] = (
                service.sensor("temperature_sensor").read(),
                service.sensor("temperature_sensor").unit,
            )
            seen["ticks"] = service.ticks_ms()

        self.deploy(setup=setup)
        self.rig.step()
        self.assertTrue(isinstance(seen.pop("ticks"), int))
        self.assertEqual(
            seen,
            {"name": "average", "version": 1, "env": {"WINDOW": "10"}, "interval": 1000, "sensor": (21.5, "Cel")},
        )

    def test_a_sensor_that_the_board_has_not(self):
        instance = self.deploy(setup=lambda service: service.sensor("microphone"))
        self.rig.step()
        self.assertIn("no microphone", self.rig.value(instance, 27514))

    def test_an_output_appears_with_its_first_value(self):
        values = [20.0, 20.0, 21]

        def loop(service):
            service.output("average", values.pop(0))

        instance = self.deploy(loop=loop)
        self.rig.step()
        self.assertEqual(self.rig.ports_of(instance), [(3308, "threshold")])
        version = self.rig.tree.version
        self.rig.step()
        self.assertEqual(self.rig.ports_of(instance), [(3303, "average"), (3308, "threshold")])
        self.assertNotEqual(self.rig.tree.version, version)
        path = list(self.rig.tree.objects[3303].ports)
        self.assertEqual(
            self.rig.tree.objects[3303].read(path[0]), [(5700, 20.0), (5701, "Cel"), (5750, "1000/average")]
        )
        self.rig.changes.clear()
        self.rig.step(1000)
        self.rig.step(1000)
        self.assertEqual(self.rig.changes, [(3303, path[0])] * 2)
        self.assertEqual(self.rig.tree.objects[3303].read(path[0])[0], (5700, 21.0))

    def test_types_of_outputs(self):
        def setup(service):
            service.output("count", 3.9)
            service.output("average", 3)

        ports = [["count", 0, "", ""], ["average", 1, "", ""]]
        self.deploy(header={"out": ports}, setup=setup)
        self.rig.step()
        found = sorted([(port.application, port.value) for port in self.rig.tree.objects[3300].ports.values()])
        self.assertEqual(found, [("1000/average", 3.0), ("1000/count", 3)])

    def test_integers_that_are_too_large(self):
        for value, phase in (
            (2**63 - 1, "running"),
            (-(2**63), "running"),
            (2**63, "crashed"),
            (10**30, "crashed"),
        ):
            instance = self.deploy(
                header={"out": [["count", 0, "", ""]]},
                setup=lambda service, value=value: service.output("count", value),
            )
            self.rig.step()
            self.assertEqual(self.phase(instance), phase)
            self.rig.software.delete(instance)

    def test_an_output_that_was_not_declared(self):
        instance = self.deploy(setup=lambda service: service.output("other", 1))
        self.rig.step()
        self.assertIn("no output other", self.rig.value(instance, 27514))

    def test_a_mapping_that_is_none(self):
        instance = self.deploy(header={"out": [["a", 0, "lwm2m:99/x/5700", ""]]}, setup=self.note("setup"))
        self.rig.step()
        self.assertIn("mapping", self.rig.value(instance, 27514))
        self.assertEqual(self.rig.ports_of(instance), [])

    def test_inputs_reach_the_service_newest_first(self):
        instance = self.deploy(setup=self.note("setup"), on_input=self.note("input"))
        self.rig.step()
        inputs = self.rig.tree.objects[3308]
        (number,) = inputs.instances()
        self.assertEqual(inputs.read(number), [(5701, "Cel"), (5750, "1000/threshold")])
        inputs.write(number, 5900, b"1.5")
        inputs.write(number, 5900, b"2.5")
        self.rig.step()
        self.assertEqual(self.calls, [("setup",), ("input", "threshold", 2.5)])
        self.assertEqual(inputs.read(number)[-1], (5900, 2.5))
        self.assertEqual(self.phase(instance), "running")

    def test_inputs_that_are_no_numbers_or_no_inputs(self):
        self.deploy(setup=lambda service: service.output("average", 1))
        self.rig.step()
        inputs = self.rig.tree.objects[3308]
        with self.assertRaises(ValueError):
            inputs.write(inputs.instances()[0], 5900, b"warm")
        outputs = self.rig.tree.objects[3303]
        for found, resource in ((outputs, 5700), (inputs, 5701)):
            with self.assertRaises(RequestError):
                found.write(found.instances()[0], resource, b"1")

    def test_a_service_without_on_input_ignores_them(self):
        instance = self.deploy(setup=self.note("setup"))
        self.rig.step()
        inputs = self.rig.tree.objects[3308]
        inputs.write(inputs.instances()[0], 5900, b"1")
        self.assertIsNone(self.rig.step())
        self.assertEqual(self.phase(instance), "running")

    def test_ports_go_with_the_service_and_their_numbers_do_not_come_back(self):
        def setup(service):
            service.output("average", 1)

        instance = self.deploy(setup=setup)
        self.rig.step()
        before = self.rig.tree.objects[3303].instances()
        self.rig.software.execute(instance, 11)
        self.assertEqual(self.rig.ports_of(instance), [])
        self.assertNotIn(3303, self.rig.tree.objects)
        self.rig.software.execute(instance, 10)
        self.rig.step()
        self.assertNotEqual(self.rig.tree.objects[3303].instances(), before)

    def test_the_log_keeps_the_last_lines(self):
        def loop(service):
            service.log("line %d %s" % (len(self.calls), "x" * 50))
            self.calls.append(0)

        instance = self.deploy(loop=loop)
        for _ in range(30):
            self.rig.step(1000)
        text = self.rig.software.read_apart(instance, 27515)
        self.assertLessEqual(len(text), 480)
        self.assertIn("line %d " % (len(self.calls) - 1), text)
        self.assertNotIn("line 1 ", text)
        self.rig.software.execute(instance, 11)
        self.assertEqual(self.rig.software.read_apart(instance, 27515), text)
