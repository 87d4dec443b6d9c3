"""Object 9: packages in, and the power going at every moment. Portable: runs on CPython and MicroPython."""

import os
import sys
import unittest

import result
import sample
import scratch
from coap import RequestError
from rig import Code, Rig


def setup(service):
    pass


def fail(service):
    raise ValueError("broken")


class InstallerTest(unittest.TestCase):
    def setUp(self):
        self.rig = Rig({"good": Code(setup=setup), "better": Code(setup=setup), "bad": Code(setup=fail)})
        self.software = self.rig.software

    def tearDown(self):
        self.rig.close()

    def files(self):
        return sorted(os.listdir(self.rig.folder + "/services"))

    def restart(self):
        self.rig.restart()
        self.software = self.rig.software

    def refused(self, **changes):
        """The result of a package with those fields in its header, and the words for it."""
        code = changes.pop("code", sample.CODE)
        instance = self.software.create()
        self.rig.upload(instance, sample.package(code, **changes))
        state, found = self.rig.state(instance)
        self.assertEqual(state, 0)
        text = self.rig.value(instance, 27514)
        self.assertTrue(text)
        with self.assertRaises(RequestError):
            self.software.execute(instance, 4)
        self.software.delete(instance)
        self.assertEqual(self.files(), [])
        return found, text


class TestInstallation(InstallerTest):
    def test_every_state_on_the_way(self):
        instance = self.software.create()
        self.assertEqual((instance, self.rig.state(instance)), (1000, (0, 0)))
        self.assertEqual(self.rig.value(instance, 27512), "installing")
        blocks = sample.blocks(sample.package(digest="good"), 64)
        for offset, part, more in blocks[:-1]:
            self.software.write_block(instance, 2, offset, part, more)
            self.assertEqual(self.rig.state(instance), (1, 1))
        self.software.write_block(instance, 2, *blocks[-1])
        self.assertEqual(self.rig.state(instance), (3, 3))
        self.assertEqual(self.rig.value(instance, 0), "average")
        self.software.execute(instance, 4)
        self.assertEqual(self.rig.state(instance), (4, 2))
        self.assertEqual((self.rig.value(instance, 12), self.rig.value(instance, 27512)), (False, "stopped"))
        self.software.execute(instance, 10)
        self.assertEqual((self.rig.value(instance, 12), self.rig.value(instance, 27512)), (True, "starting"))
        self.rig.step()
        found = dict(self.software.read(instance))
        self.assertEqual((found[1], found[27510], found[27511]), ("1", "uid/average", "good"))
        self.assertEqual((found[27512], found[27513], found[27514]), ("running", 0, ""))
        self.software.execute(instance, 11)
        self.software.execute(instance, 6)
        self.assertEqual(self.rig.state(instance), (0, 0))
        self.assertEqual(self.files(), [])
        self.software.delete(instance)
        self.assertEqual(self.software.instances(), [])

    def test_operations_out_of_order(self):
        instance = self.software.create()
        for resource in (4, 10, 11, 5, 2):
            with self.assertRaises(RequestError):
                self.software.execute(instance, resource)
        self.software.execute(instance, 6)
        with self.assertRaises(RequestError):
            self.software.write_block(instance, 3, 0, b"x", False)

    def test_doing_things_twice_does_no_harm(self):
        instance = self.rig.deploy("good")
        self.software.execute(instance, 10)
        self.rig.step()
        self.software.execute(instance, 10)
        self.assertEqual(self.rig.value(instance, 27512), "running")
        self.software.execute(instance, 11)
        self.software.execute(instance, 11)
        self.software.execute(instance, 6)
        self.software.execute(instance, 6)

    def test_the_same_block_once_more(self):
        instance = self.software.create()
        for offset, part, more in sample.blocks(sample.package(digest="good"), 64):
            self.software.write_block(instance, 2, offset, part, more)
            if more:
                self.software.write_block(instance, 2, offset, part, more)
        self.assertEqual(self.rig.state(instance), (3, 3))

    def test_a_block_that_is_missing(self):
        instance = self.software.create()
        blocks = sample.blocks(sample.package(), 64)
        with self.assertRaises(RequestError):
            self.software.write_block(instance, 2, *blocks[1])
        self.software.write_block(instance, 2, *blocks[0])
        with self.assertRaises(RequestError):
            self.software.write_block(instance, 2, *blocks[2])
        self.rig.upload(instance, sample.package(digest="good"))
        self.assertEqual(self.rig.state(instance), (3, 3))

    def test_packages_that_come_at_the_same_time(self):
        both = [self.software.create(), self.software.create()]
        blocks = sample.blocks(sample.package(digest="good"), 64)
        for block in blocks:
            for instance in both:
                self.software.write_block(instance, 2, *block)
        self.assertEqual([self.rig.state(instance) for instance in both], [(3, 3)] * 2)

    def test_a_package_that_stops_coming(self):
        instance = self.software.create()
        self.software.write_block(instance, 2, *sample.blocks(sample.package(), 64)[0])
        self.rig.now += 119000
        self.rig.installer.poll(self.rig.now)
        self.assertEqual(self.rig.state(instance), (1, 1))
        self.rig.now += 2000
        self.rig.installer.poll(self.rig.now)
        self.assertEqual(self.rig.state(instance), (0, result.CONNECTION_LOST))
        self.assertEqual(self.files(), [])

    def test_the_reader_of_packages_is_loaded_only_while_one_comes(self):
        sys.modules.pop("upload", None)
        instance = self.software.create()
        blocks = sample.blocks(sample.package(digest="good"), 64)
        self.software.write_block(instance, 2, *blocks[0])
        self.assertIn("upload", sys.modules)
        self.rig.upload(instance, sample.package(digest="good"))
        self.assertNotIn("upload", sys.modules)

    def test_instances_without_a_service_are_few(self):
        created = [self.software.create() for _ in range(3)]
        with self.assertRaises(RequestError):
            self.software.create()
        self.software.delete(created[0])
        self.assertEqual(self.software.create(), 1003)

    def test_ids_go_round(self):
        seen = []
        for _ in range(40):
            instance = self.software.create()
            seen.append(instance)
            self.software.delete(instance)
        self.assertEqual((seen[:2], seen[31:34], len(set(seen))), ([1000, 1001], [1031, 1000, 1001], 32))


class TestRefusal(InstallerTest):
    def test_another_platform(self):
        for platform in ("zephyr/arm/v7", "micropython/armv7em/v6", "micropython/any/v5", "micropython", ""):
            found, text = self.refused(platform=platform)
            self.assertEqual(found, result.UNSUPPORTED)
            self.assertIn("micropython/x64/v6", text)

    def test_code_that_this_port_does_not_load(self):
        for code in (b"import machine\n", b"M\x05\x00\x1f" + bytes(50), b"M\x06\x3c\x1f" + bytes(50)):
            self.assertEqual(self.refused(code=code)[0], result.UNSUPPORTED)

    def test_a_newer_service_api(self):
        self.assertEqual(self.refused(api=2)[0], result.REFUSED)

    def test_more_memory_than_the_device_has(self):
        found, text = self.refused(mem=1000001)
        self.assertEqual(found, result.OUT_OF_MEMORY)
        self.assertIn("needs 1000001 bytes of memory, 1000000 are free", text)

    def test_more_memory_than_others_leave(self):
        self.rig.deploy("good", mem=700000)
        instance = self.software.create()
        self.rig.upload(instance, sample.package(mem=300001))
        self.assertEqual(self.rig.state(instance), (0, result.OUT_OF_MEMORY))
        self.rig.upload(instance, sample.package(mem=300000))
        self.assertEqual(self.rig.state(instance), (3, 3))

    def test_more_flash_than_there_is(self):
        found, text = self.refused(code=sample.CODE + bytes(20000))
        self.assertEqual(found, result.STORAGE_FULL)
        self.assertIn("flash", text)

    def test_more_services_than_may_be(self):
        for _ in range(3):
            self.rig.deploy("good")
        instance = self.software.create()
        self.rig.upload(instance, sample.package())
        self.assertEqual(self.rig.state(instance), (0, result.REFUSED))
        self.assertIn("at most 3", self.rig.value(instance, 27514))

    def test_a_damaged_package(self):
        data = bytearray(sample.package())
        data[-40] ^= 1
        instance = self.software.create()
        self.rig.upload(instance, data)
        self.assertEqual(self.rig.state(instance), (0, result.INTEGRITY_FAILED))
        self.assertEqual(self.files(), [])

    def test_a_refusal_spares_the_rest_of_the_way(self):
        instance = self.software.create()
        blocks = sample.blocks(sample.package(api=2), 64)
        taken = 0
        with self.assertRaises(RequestError) as caught:
            for block in blocks:
                self.software.write_block(instance, 2, *block)
                taken += 1
        self.assertLess(taken, len(blocks) // 2)
        self.assertIn("service API", caught.exception.text)
        self.assertEqual(self.rig.state(instance), (0, result.REFUSED))

    def test_a_refusal_leaves_what_is_installed(self):
        instance = self.rig.deploy("good")
        self.rig.step()
        self.rig.upload(instance, sample.package(api=2))
        self.assertEqual(self.rig.state(instance), (4, result.REFUSED))
        self.assertEqual(self.rig.value(instance, 27512), "running")
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy"])


class TestUpdate(InstallerTest):
    def update(self, instance, digest):
        self.rig.upload(instance, sample.package(digest=digest, version=2, mem=100000))
        self.software.execute(instance, 4)

    def test_an_update_takes_the_place_of_a_running_service(self):
        instance = self.rig.deploy("good")
        self.rig.step()
        self.update(instance, "better")
        self.rig.step()
        self.assertEqual((self.rig.state(instance), self.rig.value(instance, 27511)), ((4, 2), "better"))
        self.assertEqual((self.rig.value(instance, 27512), self.rig.value(instance, 12)), ("running", True))
        self.assertEqual(self.files(), ["s1000.json", "s1000b.mpy"])
        self.update(instance, "good")
        self.rig.step()
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy"])

    def test_an_update_that_does_not_start_gives_way_to_the_service_before(self):
        instance = self.rig.deploy("good")
        self.rig.step()
        self.update(instance, "bad")
        self.rig.step()
        self.rig.step()
        self.assertEqual(self.rig.state(instance), (4, result.INSTALL_FAILED))
        self.assertEqual((self.rig.value(instance, 27511), self.rig.value(instance, 27512)), ("good", "running"))
        self.assertIn("broken", self.rig.value(instance, 27514))
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy"])

    def test_a_loss_of_power_before_the_update_has_started(self):
        for digest, expected in (("better", "better"), ("bad", "good")):
            instance = self.rig.deploy("good")
            self.rig.step()
            self.update(instance, digest)
            self.restart()
            self.rig.step()
            self.rig.step()
            self.assertEqual(
                (self.rig.value(instance, 27511), self.rig.value(instance, 27512)), (expected, "running")
            )
            self.software.delete(instance)
            self.assertEqual(self.files(), [])

    def test_flash_that_fails_when_an_update_has_started(self):
        for digest in ("better", "bad"):
            instance = self.rig.deploy("good")
            self.rig.step()
            self.update(instance, digest)
            save = self.rig.store.save

            def full(*_):
                raise OSError(28)

            self.rig.store.save = full
            self.rig.step()
            self.rig.step()
            self.rig.store.save = save
            self.assertEqual(self.rig.value(instance, 27512), "running")
            self.restart()
            self.rig.step()
            self.rig.step()
            self.assertEqual(self.rig.value(instance, 27511), "better" if digest == "better" else "good")
            self.software.delete(instance)
            self.assertEqual(self.files(), [])

    def test_an_update_of_an_update_that_has_not_started(self):
        instance = self.rig.deploy("good")
        self.rig.step()
        self.update(instance, "bad")
        self.update(instance, "bad")
        self.assertEqual(len(self.files()), 3)
        self.rig.step()
        self.rig.step()
        self.assertEqual((self.rig.value(instance, 27511), self.rig.value(instance, 27512)), ("good", "running"))
        self.assertEqual(len(self.files()), 2)

    def test_an_update_of_a_stopped_service(self):
        instance = self.rig.deploy("good")
        self.software.execute(instance, 11)
        self.update(instance, "better")
        self.assertEqual((self.rig.value(instance, 12), self.rig.value(instance, 27512)), (False, "stopped"))
        self.assertEqual(self.files(), ["s1000.json", "s1000b.mpy"])


class TestLossOfPower(InstallerTest):
    def test_what_was_active_runs_again(self):
        instance = self.rig.deploy("good")
        other = self.rig.deploy("better")
        self.software.execute(other, 11)
        self.restart()
        self.rig.step()
        self.assertEqual(self.rig.value(instance, 27512), "running")
        self.assertEqual(self.rig.value(other, 27512), "stopped")
        self.assertEqual(dict(self.software.read(instance))[27510], "uid/average")
        self.assertEqual(self.rig.state(instance), (4, 2))

    def test_what_was_not_installed_is_gone(self):
        first = self.software.create()
        self.software.write_block(first, 2, *sample.blocks(sample.package(), 64)[0])
        second = self.software.create()
        self.rig.upload(second, sample.package(digest="good"))
        self.restart()
        self.assertEqual((self.software.instances(), self.files()), ([], []))

    def test_a_half_update_of_an_installed_service_is_gone(self):
        instance = self.rig.deploy("good")
        self.software.write_block(instance, 2, *sample.blocks(sample.package(digest="better"), 64)[0])
        self.restart()
        self.rig.step()
        self.assertEqual((self.rig.value(instance, 27511), self.rig.value(instance, 27512)), ("good", "running"))
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy"])

    def test_code_that_flash_has_damaged_is_not_loaded(self):
        instance = self.rig.deploy("good")
        path = self.rig.folder + "/services/s1000a.mpy"
        data = bytearray(scratch.read(path))
        data[50] ^= 1
        scratch.write(path, data)
        self.restart()
        self.rig.step()
        self.assertEqual(self.rig.value(instance, 27512), "crashed")
        self.assertIn("damaged", self.rig.value(instance, 27514))

    def test_flash_that_is_full_at_the_moment_of_installing(self):
        instance = self.software.create()
        self.rig.upload(instance, sample.package(digest="good"))
        save = self.rig.store.save

        def full(*_):
            raise OSError(28)

        self.rig.store.save = full
        self.software.execute(instance, 4)
        self.assertEqual(self.rig.state(instance), (0, result.STORAGE_FULL))
        self.rig.store.save = save
        self.rig.upload(instance, sample.package(digest="good"))
        self.software.execute(instance, 4)
        self.rig.store.save = full
        with self.assertRaises(RequestError):
            self.software.execute(instance, 10)
        self.assertEqual(self.rig.value(instance, 12), False)
