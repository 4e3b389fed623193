// SPDX-License-Identifier: GPL-2.0
/*
 * reboot "0 tryboot" on a Raspberry Pi, for kernels whose firmware driver does not know it.
 *
 * The firmware keeps a flag that holds for one start; with it, autoboot.txt's [tryboot] counts. Raspberry Pi's own
 * kernel sets it when the argument of reboot(2) has the word "tryboot"; this does the same, through the same mailbox.
 */
#include <linux/module.h>
#include <linux/of.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <soc/bcm2835/raspberrypi-firmware.h>

#define SET_REBOOT_FLAGS 0x00038064
#define TRYBOOT 0x1

static struct rpi_firmware *firmware;

static int before_reboot(struct notifier_block *block, unsigned long action, void *argument)
{
	u32 flags = TRYBOOT;
	int failed;

	if (action != SYS_RESTART || !argument || !strstr(argument, "tryboot"))
		return NOTIFY_DONE;
	failed = rpi_firmware_property(firmware, SET_REBOOT_FLAGS, &flags, sizeof(flags));
	if (failed)
		pr_err("mycoswarm-tryboot: the firmware does not take the flag: %d\n", failed);
	else
		pr_info("mycoswarm-tryboot: the next start is a trial\n");
	return NOTIFY_DONE;
}

static struct notifier_block notifier = {
	.notifier_call = before_reboot,
};

static int __init begin(void)
{
	struct device_node *node = of_find_compatible_node(NULL, NULL, "raspberrypi,bcm2835-firmware");

	if (!node)
		return -ENODEV;
	firmware = rpi_firmware_get(node);
	of_node_put(node);
	if (!firmware)
		return -EPROBE_DEFER;
	return register_reboot_notifier(&notifier);
}

static void __exit end(void)
{
	unregister_reboot_notifier(&notifier);
	rpi_firmware_put(firmware);
}

module_init(begin);
module_exit(end);
MODULE_ALIAS("of:N*T*Craspberrypi,bcm2835-firmware");
MODULE_DESCRIPTION("Has a Raspberry Pi try another system once");
MODULE_LICENSE("GPL");
